"""Writes templates.json: what Jinja (in transformers' configuration) makes of the templates beside this file.

    pip install jinja2
    python make_templates.py
"""
import glob, json, os
from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

here = os.path.dirname(os.path.abspath(__file__))


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    def _pass(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message):
    raise TemplateError(message)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = refuse

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
            case["expected"] = environment.from_string(source).render(**variables)
        except Exception as error:
            case["error"] = str(error)
        cases.append(case)
for source in snippets:
    case = dict(source=source, variables={})
    try:
        case["expected"] = environment.from_string(source).render()
    except Exception as error:
        case["error"] = str(error)
    cases.append(case)
with open(os.path.join(here, "templates.json"), "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")
print(len(cases), "cases,", sum("error" in case for case in cases), "of them errors")
for case in cases:
    if "error" in case: print(case.get("template", case.get("source")), "->", case["error"])
