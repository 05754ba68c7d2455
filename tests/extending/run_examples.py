"""A rank of `test_distributed`: runs several files of examples/distributed one after the other, each with a port of its
own: `python run_examples.py NAME:PORT ...`. What each prints comes after a line `# NAME`."""

import os
import runpy
import sys
from pathlib import Path

HOME = Path(__file__).parents[2] / "examples" / "distributed"

if __name__ == "__main__":
    sys.path.insert(0, str(HOME))
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"  # the launcher's keeps what an earlier file has stored
    for word in sys.argv[1:]:
        name, os.environ["MASTER_PORT"] = word.split(":")
        if os.environ["RANK"] == "0":
            print(f"# {name}", flush=True)
        runpy.run_path(str(HOME / name), run_name="__main__")
