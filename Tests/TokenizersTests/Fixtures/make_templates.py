"""Writes templates.json: what Jinja (in transformers' configuration) makes of the templates beside this file.

    pip install jinja2 transformers numpy
    python make_templates.py
"""
import glob, json, os
import datetime
import transformers.utils.chat_template_utils as utils

compiled = utils._compile_jinja_template

class Now(datetime.datetime):
    @classmethod
    def now(cls, tz=None): return cls(2024, 2, 29, 12, 34, 56)

utils.datetime = Now

here = os.path.dirname(os.path.abspath(__file__))

user = {"role": "user", "content": " Name three primary colours. \n"}
answer = {"role": "assistant", "content": "Red, blue,\nyellow é 🚀."}
more = {"role": "user", "content": "And \"green\"?\n\n  Indented\n"}
system = {"role": "system", "content": "You are terse."}
tools = [{"type": "function", "function": {"name": "weather", "description": "It's \"weather\" <here>", "parameters": {
    "type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}},
                                     "unit": {"enum": ["C", "F"]}}, "required": ["place"]}}}]
call = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich", "days": [1, 2.5, None, True]}}}]}
result = {"role": "tool", "name": "weather", "content": "{\"sky\": \"grey\"}", "tool_call_id": "abcdefghi"}
thought = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."}
conversations = [
    dict(messages=[user]), dict(messages=[system, user]), dict(messages=[user, answer, more]),
    dict(messages=[system, user, answer, more, thought]), dict(messages=[user, answer], add_generation_prompt=False),
    dict(messages=[system, user], tools=tools), dict(messages=[user, call, result], tools=tools),
    dict(messages=[user, call, result, result, answer, more], tools=tools, tools_in_user_message=False),
    dict(messages=[user, user]), dict(messages=[]), dict(messages=[user], enable_thinking=False),
    dict(messages=[user, answer], date_string="1 Jan 2025", tools=None),
]
snippets = [line for line in r'''
{{ 'abc'[1] }}{{ 'abc'[-1] }}{{ 'abcdef'[1:-1:2] }}{{ 'abc'[::-1] }}{{ [1,2,3][1:] }}{{ [1,2,3][-2:] }}{{ 'é🚀x'[1] }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1 + 2.5 }} {{ 6 / 3 }} {{ 1e20 }} {{ 0.1 + 0.2 }}
{{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ 1 in [1,2] }} {{ 'x' not in 'abc' }} {{ not 0 }} {{ none }} {{ True and 'x' or 'y' }}
{{ 'a' ~ 1 ~ none ~ true }} {{ 'ab' * 3 }} {{ [1] + [2] }} {{ '%s is %d%%' % ('x', 3) }}
{{ {'a': 1, 'b': [1, 'x', "it's"]} }} {{ ['\n', 'q"'] }} {{ {'a': {'b': 2}}['a'].b }}
{{ missing }}|{{ missing is defined }}|{{ missing | default('d') }}|{{ '' | default('e', true) }}|{{ none | default('n') }}
{{ 'Hello World'.upper() }} {{ 'hELLO wORLD' | title }} {{ "they're bill's-x (a) [b]" | title }} {{ 'hELLO' | capitalize }} {{ "it's a".title() }}
{{ ' x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ '--a--'.lstrip('-') }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ 'a\nb\r\nc'.splitlines() }}
{{ 'abab'.replace('ab', 'x') }} {{ 'abab'.replace('a', 'y', 1) }} {{ 'abab' | replace('b', '') }} {{ 'abc'.find('c') }} {{ 'aXbX'.count('X') }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.partition('b') | join('/') }} {{ 'abc'.index('b') }}
{{ [3, 1, 2] | sort }} {{ [3, 1, 2] | sort(reverse=true) }} {{ ['b', 'A', 'c'] | sort }} {{ [1, 2, 3] | sum }} {{ [1, 5, 2] | max }} {{ [4, 2] | min }}
{{ [1, 2, 2, 1] | unique | list }} {{ 'abc' | list }} {{ 'abc' | reverse }} {{ [1, 2] | reverse | list }} {{ {'b': 1, 'a': 2} | dictsort | map('last') | list }}
{{ [{'a': 1}, {'a': 2}, {'b': 1}] | selectattr('a', 'defined') | map(attribute='a') | list }} {{ [{'a': {'b': 7}}] | map(attribute='a.b') | first }}
{{ [1, 2, 3, 4] | select('odd') | list }} {{ [1, 2, 3, 4] | reject('gt', 2) | list }} {{ ['a', 'b'] | map('upper') | join('-') }} {{ [{'x': 0}, {'x': 1}] | rejectattr('x') | list }}
{{ '12' | int }} {{ 'x' | int(5) }} {{ '3.7' | float }} {{ 3.99 | int }} {{ 2.5 | round }} {{ 3.14159 | round(2) }} {{ -3 | abs }}
{{ {'a': [1, 2.0, none, true, 'é"\n<']} | tojson }} {{ {'a': [], 'b': {}, 'c': [1, {'d': 2}]} | tojson(indent=2) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, false, true) }}
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ loop.index }}{{ loop.revindex }}{{ loop.cycle('a', 'b') }}{{ ',' if not loop.last }}{% endfor %}
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for x in [] %}{% else %}empty{% endfor %}{% for x in 'ab' %}{{ x }}.{% endfor %}
{% for i in range(1, 10, 3) %}{{ i }}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}{{ range(3) | list }} {{ range(3, 0, -1) | list }}
{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}{% if true %}{% set x = 3 %}{% endif %}{{ x }}{% set a, b = 1, 2 %}{{ a + b }}
{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}
{% macro m(a, b=2) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{% set c = 9 %}{{ m(1) }}{{ m(1, b=3) }}{{ m(b=1, a=0) }}
{% macro w(t) %}<{{ t }}>{{ caller(5) }}</{{ t }}>{% endmacro %}{% call(n) w('b') %}in {{ n }}{% endcall %}
{% set s %}a{{ 1 }}b{% endset %}{{ s | upper }}{% set t | upper %}xyz{% endset %}{{ t }}
{{ 1 is number }} {{ 'a' is string }} {{ {} is mapping }} {{ [] is sequence }} {{ 'x' is iterable }} {{ 1 is iterable }} {{ none is none }} {{ true is boolean }} {{ 1 is sameas 1 }} {{ 3 is divisibleby 3 }} {{ 1 is eq 1 }} {{ 2 is not odd }} {{ true is true }} {{ 1 is true }} {{ 1.5 is float }} {{ true is integer }} {{ 1 is in [1] }}
{{ 'yes' if missing else 'no' }} {{ 'x' if false }} {{ (1 if true else 2) + 1 }} {{ [1, 2] | length }} {{ 'éx' | length }} {{ {'a': 1} | count }}
{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b', 5) }} {{ {'a': 1}.get('b') }} {{ {'a': 1, 'b': 2}.keys() | list }} {{ {'a': 1}.values() | list }} {{ {'a': 1} | items | map('join', '=') | list }} {{ dict(a=1, b='x') }}
{{ '<a href="x">' | escape }} {{ '<b>' | safe }} {{ 'a' 'b' }} {{ "\u00e9\t|\x41" }} {{ 'a\\n' }} {{ 'ab' | center(6) }}|{{ 'a b c' | wordcount }}
{{- ' a ' -}}   {{ 'b' }}   {#- c -#}   d {%- if true %} e {%- endif %} f {%+ if true %} g {% endif +%} h
{{ 'x' | default }} {{ [1, [2, 3]] }} {{ (1, 2)[0] }} {{ 'a,b'.split(',') | last }} {{ ['a', none, 1] | join('/') }} {{ [{'n': 'x'}, {'n': 'y'}] | join(',', attribute='n') }}
{{ ['a', 'b'] == ['a', 'b'] }} {{ {'a': 1} != {'a': 2} }} {{ 'a' == 'a' and not ('b' == 'c') }} {{ 5 > 3 and 2 >= 2 }} {{ -2 ** 2 }} {{ 2 * 3 ~ 'x' }} {{ 1 - 1 - 1 }}
{% if not missing %}ok{% endif %}{% if missing is undefined or missing.x %}fine{% endif %}{{ {'x': 1}.y is defined }} {{ {'x': none}.x is none }}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }} {{ 'abc' is lower }} {{ 'ABC'.isupper() }} {{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ '{} {x}'.format(1, x=2) }}
{{ missing.attribute }}
{{ missing() }}
{{ 'a' + 1 }}
{{ raise_exception('no ' ~ 1) }}
{{ 1 // 0 }}
{% for x in 5 %}{% endfor %}
{{ (1, 2) }} {{ (1,) }} {{ () }} {{ [(1, 'a')] }} {{ (1, 2) == [1, 2] }} {{ {'a': 1}.items() | list }} {{ {'b': (1, 2)} }}
{% macro m(a, b) %}{{ a }}-{{ b }}{% endmacro %}{{ m(*[1, 2]) }} {{ m(**{'a': 3, 'b': 4}) }} {{ m(5, *[6]) }} {{ m(*[7], b=8) }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% for x in [1, 2] %}{% macro m() %}<{{ x }}>{% endmacro %}{{ m() }}{% endfor %}
{% macro w() %}[{{ caller() }}]{% endmacro %}{% for x in 'ab' %}{% call w() %}{{ x }}{{ loop.index }}{% endcall %}{% endfor %}
{% macro outer(x) %}{% macro inner() %}{{ x }}{% endmacro %}{{ inner() }}{% endmacro %}{{ outer(3) }}
{% macro m() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(2) }}
{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{{ loop.depth }}{% endif %}{% endfor %}
{% for x in [1, 1, 2, 2, 1] %}{{ x if loop.changed(x) }}{% endfor %}
{% for x in [1, 2, 3, 4] if x is even %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}
{% for x in range(3) %}{% for y in range(2) %}{{ loop.depth }}{{ x }}{{ y }} {% endfor %}{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% else %}none{% endfor %} {% for (a, b) in [(1, 2)] %}{{ a + b }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% set x %}a{% set y = 1 %}{% endset %}{{ x }}{{ y is defined }}
{% with a = 1, b = a %}{{ b is defined }}{% endwith %}
{% filter upper | replace('A', 'b') %}a{{ 'c' }}{% endfilter %}
{% set ns = namespace(a=1) %}{% set ns.b = 2 %}{{ ns.a + ns.b }}{{ ns.c is defined }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}
{% set ns = namespace(_a=1) %}
{% set ns = namespace() %}{% set ns._a = 1 %}
{% set x = 1 %}{% set x.y = 2 %}
{{ [1].append(2) }}
{{ {'a': 1}.update({'b': 2}) }}
{{ {'a': 1}.pop('a') }}
{{ [3, 1].sort() }}
{{ {'items': 5}.items is number }} {{ {'items': 5}['items'] }} {{ {}['items'] is defined }} {{ {}.items is callable }} {{ {'get': 1}.get('get') }}
{{ ''.title is defined }} {{ 'x'.nothing is defined }} {{ [].count is defined }} {{ {}.update is defined }} {{ {'update': 1}.update is defined }}
{{ {'__class__': 1}.__class__ is defined }} {{ ''.__class__ }}
{{ '<b>' | e | e }} {{ '<b>' | e | forceescape }} {{ ('<b>' | safe) + '<' }} {{ '<' + ('<b>' | safe) }} {{ ('<b>' | safe) ~ '<' }} {{ '<i>' | safe | e }}
{{ ['<'] | tojson | safe }} {{ '<' | e is string }} {{ '<' | e is escaped }} {{ '<' is escaped }}
{{ 'x' is filter }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ 'nope' is test }}
{{ 1 is lessthan 2 }} {{ 1 is ge 1 }} {{ 1 is gt(2) }} {{ 5 is in [1, 5] }} {{ 'a' is in 'abc' }} {{ 1 is not in [2] }} {{ 1 is ne 2 }}
{{ 3 is sameas 3.0 }} {{ none is sameas none }} {{ true is sameas 1 }}
{{ 'aXbXc'.rsplit('X', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ ' a  b  c '.split(none, 1) }} {{ 'aaa'.rsplit('aa') }} {{ 'a-b-c'.split('-', 0) }}
{{ 'abcabc'.rfind('bc') }} {{ 'abc'.rfind('x') }} {{ 'abcabc'.find('bc', 2) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.count('c', 0, 2) }}
{{ 'a\nb\r\nc\n'.splitlines(true) }} {{ 'a\x0bb\u2028c'.splitlines() }} {{ ''.splitlines() }} {{ '\n'.splitlines() }}
{{ 'ab'.center(5, '*') }} {{ 'ab'.center(4) }}| {{ 'abc'.center(6, '-') }} {{ 'x'.ljust(3, '.') }}{{ 'x'.rjust(3) }} {{ '-5'.zfill(4) }} {{ 'aB'.swapcase() }}
{{ 'a,b'.partition(',') }} {{ 'a,b,c'.rpartition(',') }} {{ 'a'.partition(',') }} {{ 'a'.rpartition(',') }}
{{ 'abc'.removeprefix('a').removesuffix('c') }} {{ '½'.isdigit() }}{{ '½'.isnumeric() }}{{ '²'.isdigit() }}{{ '²'.isdecimal() }} {{ 'é'.isascii() }}
{{ ['a', 1] | join(',') }} {{ ','.join(['a', 'b']) }} {{ ','.join('ab') }} {{ '-'.join({'a': 1, 'b': 2}) }}
{{ ','.join(['a', 1]) }}
{{ '%s' % [1, 2] }} {{ '%s-%s' % (1, 'b') }} {{ '%5d|%-5d|%05d|%+d' % (42, 42, 42, 42) }} {{ '%.2f' % 3.14159 }} {{ '%5.1f|' % 2.25 }} {{ '%x' % 255 }} {{ '%r' % 'a' }} {{ '%(a)s' % {'a': 1} }}
{{ '%s' % (1, 2) }}
{{ '%s %s' % 1 }}
{{ '%s-%s' | format('a', 1) }} {{ '%(x)s' | format(x=2) }} {{ '{}-{}'.format(1, 'b') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd') }} {{ '{:.2f} {:5d} {:05d}'.format(1.005, 7, 7) }} {{ '{{}}'.format() }} {{ '{x:>3}'.format(x=1) }}
{{ {'a': 1, 'b': [1, 2], 'c': {}} | tojson(indent=4) }} {{ [1, [2]] | tojson(indent=0) }} {{ {'é': 'ü'} | tojson(ensure_ascii=true) }} {{ [1, 2] | tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': {'d': 1, 'c': 2}} | tojson(sort_keys=True) }} {{ [1] | tojson(false, 1) }} {{ {'a': 1} | tojson(indent='  ') }} {{ '🚀' | tojson(true) }} {{ (1, 2) | tojson }}
{{ missing | tojson }}
{{ [missing] | tojson }}
{{ [3, 1, 2] | sort(reverse=true) }} {{ [{'a': 2, 'b': 1}, {'a': 1, 'b': 2}, {'a': 2, 'b': 3}] | sort(attribute='a', reverse=true) | map(attribute='b') | list }} {{ ['b', 'A', 'a', 'B'] | sort }} {{ ['b', 'A'] | sort(case_sensitive=true) }}
{{ ['a', 'A', 'b'] | unique | list }} {{ ['a', 'A'] | unique(case_sensitive=true) | list }} {{ [1, 1.0, true, 2] | unique | list }} {{ ['b', 'a', 'B'] | min }} {{ ['b', 'B'] | max }} {{ [] | max is defined }} {{ [{'n': 2}, {'n': 5}] | max(attribute='n') }}
{{ [1, [2]] | unique | list }}
{% for g in [{'k': 'b', 'v': 1}, {'k': 'a', 'v': 2}, {'k': 'b', 'v': 3}] | groupby('k') %}{{ g.grouper }}={{ g.list | map(attribute='v') | join(',') }};{% endfor %}{% for k, l in [{'k': 1}, {'k': 2}] | groupby('k') %}{{ k }}{{ l | length }}{% endfor %}
{{ {'b': 2, 'A': 1, 'c': 0} | dictsort }} {{ {'b': 2, 'A': 1} | dictsort(by='value') }} {{ {'b': 2, 'a': 1} | dictsort(reverse=true) }} {{ {'b': 1, 'A': 2} | dictsort(true) }}
{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 'x') | list }} {{ [1, 2, 3, 4, 5] | slice(2) | list }} {{ [1, 2, 3] | slice(2, 'x') | list }}
{{ 'foo bar baz qux' | truncate(9) }} {{ 'foo bar baz qux' | truncate(9, true) }} {{ 'foo bar baz qux' | truncate(11) }} {{ 'foo bar baz qux' | truncate(11, false, '...', 0) }} {{ 'a/b c&d=é' | urlencode }}
{{ 'a\nb\r\nc' | indent(2) }}|{{ 'a\n' | indent }}|{{ 'a\n\nb' | indent(2, true, true) }}|{{ 'a\nb' | indent('> ') }}|{{ '' | indent(2, true) }}|{{ 'a\nb' | indent(first=true) }}
{{ [1, 2, 3] | sum(start=10) }} {{ [{'a': 1}, {'a': 2}] | sum(attribute='a') }} {{ [] | first is defined }} {{ 'abc' | first }} {{ [1, 2] | last }} {{ {'a': 1} | first }}
{{ [{'a': none}, {'a': 1}] | selectattr('a', 'none') | list }} {{ [{'a': 1}, {'a': 2}] | rejectattr('a', 'equalto', 1) | list }} {{ [0, 1, none, ''] | select | list }} {{ ['a', 'b'] | map('replace', 'a', 'x') | list }} {{ [{'a': 1}, {}] | map(attribute='a', default=0) | list }}
{{ '12.5' | int }} {{ 'abc' | int }} {{ none | int }} {{ '0x1f' | int(0, 16) }} {{ '1f' | int(base=16) }} {{ true | int }} {{ 'x' | float }} {{ 2.7 | round(0, 'floor') }} {{ 2.1 | round(method='ceil') }} {{ 25 | round(1) }}
{{ 1 if false else 2 if false else 3 }} {{ not true or true }} {{ 1 < 2 and 2 < 1 or 3 }} {{ 'a' if not none else 'b' }} {{ (1 if missing is defined) is defined }} {{ 'a' not in ['b'] and 1 }}
{{ 1 == 1 == 1 }} {{ 3 > 2 > 1 }} {{ 1 < 3 < 2 }} {{ [1, 2] < [1, 3] }} {{ (1, 2) < (1, 2, 0) }} {{ 'b' > 'a' >= 'a' }} {{ 1 != 2 != 1 }}
{{ [1] * 3 }} {{ 2 * 'ab' }} {{ 'ab' * -1 }} {{ (1,) + (2,) }} {{ true + 1 }} {{ 7 % -3 }} {{ -7 // -2 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 ** 0 }} {{ 10 / 4 }} {{ 1_000 }} {{ 1.5e3 }} {{ 0x10 }} {{ 0b11 }} {{ 0o17 }}
{{ [1] + (2,) }}
{{ 'a' * 'b' }}
{{ 1 < 'a' }}
{{ missing + 1 }}
{{ missing < 1 }}
{{ missing == missing2 }} {{ missing == none }} {{ 'x' in missing }} {{ missing | length }} {{ missing | list }} {% for x in missing %}x{% endfor %} {{ missing is none }} {{ missing is iterable }} {{ missing | string }}|
{{ missing[0] }}
{{ none.x is defined }} {{ 1.x is defined }}
{{ none | length }}
{{ 'abc'[5] is defined }} {{ [1][5] is defined }} {{ [1]['a'] is defined }} {{ {'a': 1}[0] is defined }} {{ 'abc'[1:][0] }} {{ [1, 2, 3][::2] }} {{ 'héllo'[1:3] }} {{ 'abc'[-10:10] }} {{ [1, 2, 3][2:0:-1] }} {{ (1, 2, 3)[1:] }} {{ 'abc'[none:2] }}
{{ 1[0:1] }}
{{ {'a': 1, 'a': 2} }} {{ {'a': 1}.keys() | list }} {{ 'a' in {'a': 1} }} {{ {'a': none}.get('a', 5) }} {{ dict({'a': 1}, b=2) }} {{ dict([('a', 1)]) }}
{% set j = joiner('|') %}{% for x in [1, 2, 3] %}{{ j() }}{{ x }}{% endfor %} {% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}
{{ range(5)[1:3] | list }} {{ range(0) | list }} {{ range(5, 0, -2) | list }} {{ range(2, 2) | list }} {{ range(3) | length }} {{ range(10, 0) | list }}
{{ 'a' if x is defined and x else 'b' }} {{ "it's" }} {{ 'say "x"' }} {{ ["it's", 'say "x"', 'both\'"', '\\', '\t', '\x07', 'é', '\u200b', '🚀'] }} {{ '\q' }} {{ 'a\
b' }} {{ "\N" }}
{{ 1.0 }} {{ 100000000000000000.0 }} {{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1e-7 }} {{ 123456.789 }} {{ -0.0 }} {{ 1e400 }} {{ 3.0 * 2 }} {{ [1.0, 2.5e-10] | tojson }}
{# a #}{{ 1 }}{#- b -#} {{ 2 }}{# multi
line #}
x
{{ 'a' }}  {%- if true -%}  b  {%- else -%} c {%- endif -%}  d
{% raw %}{{ x }}{% if %}{% endraw %}{%- raw -%}  y  {%- endraw -%} z
{{ '{{' }} {{ '%}' }} {{ "}}" }} {{ {'a': {'b': 1}} }} { { } } {a} {{'a'}}{{'b'}}
{% if true %}a{% elif x.y.z %}b{% endif %}{% if 0 %}a{% elif 1 %}b{% elif 1 %}c{% else %}d{% endif %}
{{ strftime_now('%d %b %Y %H:%M %j %A %a %B %y %m %e %I %p %S %F %T %D %R %w %u %C %x %X %c %% %Z%z|%-d %-m %-H') }} {{ '\101\60' }}
{{ range is callable }} {{ raise_exception is defined }}
{{ ['a', 'b'].index('b') }} {{ [1, 2, 1].count(1) }} {{ (1, 2).index(2) }} {{ [1, 2].copy() }} {{ {'a': 1}.copy() }}
{{ [1].index(5) }}
{{ 'abc'.encode is defined }} {{ 'ß'.upper() }} {{ 'ǆ'.capitalize() }} {{ 'ﬁ'.title() }} {{ 'İ'.lower() | length }} {{ 'STRASSE'.casefold() }}
{% for i in range(3) %}{{ i }}{% if i == 1 %}{% break %}{% endif %}{% else %}never{% endfor %}
{{ {0: 'a', 512: 'b'} }} {{ {1: 'x'}[1] }} {{ 1 in {1: 2} }} {{ {0: 1} | dictsort }} {{ {2: 'a'} | tojson }} {{ none | selectattr('a') | list }} {{ none | map('upper') | list }} {{ [[1, 2], [3]] | sum(start=[]) }} {{ ['x'] | first | upper }} {{ ('a' 'b') | length }} {{ -1 | abs }} {{ - 1 }} {{ +2 }} {{ not not 1 }}
{% generation %}a{% set z = 1 %}{% endgeneration %}{{ z is defined }}
{{ x.y.z if x is defined else 'no' }} {{ (missing or {}).get('a', 'd') }} {{ missing.x | default('d') if missing is defined else 'e' }}
{{ missing.x.y | default('d') }}
{{ ({}).x | default('d') }} {{ {}.x.y is defined }}
{% set content = 'a' %}{% for i in [1, 2] %}{% if i == 1 %}{% set content = content + 'b' %}{% endif %}{{ content }}{% endfor %}{{ content }}
{% block x %}{% endblock %}{% include 'x' %}
{{ 'a' is defined() }} {{ 4 is divisibleby(2) }} {{ 'a' is eq('a') }} {{ none is not none }} {{ 1 is number and 'a' is string }} {{ [1, 2] is sequence and [] is not mapping }}
{{ loop is defined }}{% for x in [1] %}{{ loop.first and loop.last }}{{ loop.nothing is defined }}{% endfor %}
{{ 'A' < 'a' }} {{ 'é' > 'z' }} {{ 'abc' == 'abc' }} {{ '1' == 1 }} {{ 1 == true }} {{ 0 == false }} {{ '' == none }} {{ [] == () }}
'''.strip("\n").split("\n")]
snippets += ["a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "  {%- if true -%}\n  x\n  {%- endif -%}\n y\n\n", "{# c #}\n  x {# d #}\n{{ 1 }}\n\n{{ 2 }}\n",
             "x\r\ny\n", "{% if true %}\n\n{{ 'a' }}\n{% endif %}\n", "   {% raw %}\n {{ x }} {% endraw %}\n z", "\t{%+ if true %}a{% endif %}\n\n b",
             "{{ {'a': {'b': [1, {'c': 2}]}}.a.b[1].c }}", "{% for m in [{'r': 'x'}, {'r': 'y'}] -%}\n  {{ m.r }}\n{%- endfor %}\n!"]

cases = []
for path in sorted(glob.glob(os.path.join(here, "templates", "*.jinja"))):
    source = open(path, newline="").read()
    for conversation in conversations:
        variables = dict(bos_token="<s>", eos_token="</s>", add_generation_prompt=True, tools=None, documents=None) | conversation
        case = dict(template=os.path.basename(path), variables=variables)
        try:
            case["expected"] = compiled(source).render(**variables)
        except Exception as error:
            case["error"] = str(error)
        cases.append(case)
for source in snippets:
    case = dict(source=source, variables={})
    try:
        case["expected"] = compiled(source).render()
    except Exception as error:
        case["error"] = str(error)
    cases.append(case)
with open(os.path.join(here, "templates.json"), "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")
print(len(cases), "cases,", sum("error" in case for case in cases), "of them errors")
for case in cases:
    if "error" in case: print(case.get("template", case.get("source")), "->", case["error"])
