"""Writes Sources/CText/decompositions.txt from Debian's unicode-data (UnicodeData.txt, DerivedAge.txt, DerivedNormalizationProps.txt).

Characters of Unicode 9 and older: the tables of the reference library (`tokenizers`) end there. An entry is `CODE.CLASS` (canonical combining
class), `CODE=A+B` (canonical decomposition), `CODE-A+B` (the same, never composed again) or `CODE~A+B` (compatibility decomposition), in hex.

    apt-get install unicode-data
    python3 Scripts/make_decompositions.py
"""
import os
age={}
for line in open('/usr/share/unicode/DerivedAge.txt'):
    line=line.split('#')[0].strip()
    if not line: continue
    r,a=[x.strip() for x in line.split(';')]
    lo,hi=(r.split('..')+[r])[:2]
    v=tuple(map(int,a.split('.')))
    for c in range(int(lo,16),int(hi,16)+1): age[c]=v
excl=set()
for line in open('/usr/share/unicode/DerivedNormalizationProps.txt'):
    line=line.split('#')[0].strip()
    if not line: continue
    p=[x.strip() for x in line.split(';')]
    if p[1]=='Full_Composition_Exclusion':
        lo,hi=(p[0].split('..')+[p[0]])[:2]
        excl.update(range(int(lo,16),int(hi,16)+1))
ccc=[];can=[];comp=[]
for line in open('/usr/share/unicode/UnicodeData.txt'):
    f=line.split(';'); c=int(f[0],16)
    if age.get(c,(99,0))>(9,0): continue
    if f[3]!='0': ccc.append((c,int(f[3])))
    d=f[5]
    if d:
        if d[0]=='<': comp.append((c,[int(x,16) for x in d.split('>')[1].split()]))
        else: can.append((c,[int(x,16) for x in d.split()],c in excl))
print(len(ccc),len(can),len(comp))
out=[]
for c,k in ccc: out.append('%X.%X'%(c,k))
for c,m,e in can: out.append('%X%s%s'%(c,'-' if e else '=','+'.join('%X'%x for x in m)))
for c,m in comp: out.append('%X~%s'%(c,'+'.join('%X'%x for x in m)))
lines=[];cur=''
for o in out:
    if len(cur)+len(o)+1>120: lines.append(cur);cur=''
    cur+=(' ' if cur else '')+o
lines.append(cur)
open(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'Sources/CText/decompositions.txt'), 'w').write('\n'.join(lines)+'\n')
