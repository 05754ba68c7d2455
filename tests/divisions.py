"""How tests divide their data: exact shares suit a handful of samples, which are often copies of each other."""

from ptapp_core.data.split import Division

EXACT = Division(how="exact", allow_duplicates=True)
