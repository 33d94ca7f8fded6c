"""`python -m lorikeet_qlora ...` is `lorikeet ...`."""
import os
import sys

from . import binary

path = binary()
os.execv(path, [path] + sys.argv[1:])
