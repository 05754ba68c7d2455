"""The commands of the toy domain: `ptapp toy export RUN`."""

from pathlib import Path

from ptapp_core.cli.app import domain
from ptapp_core.errors import UserError

app = domain("A toy.")


@app.command()
def export(run: Path) -> None:
    """Write the toy model into the run."""
    from serve.running import write_model

    if (run / "broken").exists():
        raise UserError(f"{run}: a run that cannot be exported")
    write_model(run / "export")
    print("exported")
