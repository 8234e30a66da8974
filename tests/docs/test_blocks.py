"""Every Python block of the documents runs, one document after the other, as its reader would type it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


def program(text: str) -> str:
    """Return the blocks of a document as one program, each line where the document has it."""
    lines = [""] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        start = text.count("\n", 0, block.start(2))
        for number, line in enumerate(block[2].splitlines(), start):
            lines[number] = line.removeprefix(block[1])
    return "\n".join(lines)


WITH_BLOCKS = [path for path in DOCUMENTS if "```python" in path.read_text("utf-8")]


def test_there_is_something_to_run() -> None:
    assert [path.name for path in WITH_BLOCKS if path.name == "README.md"]


@pytest.mark.parametrize("path", WITH_BLOCKS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_its_python_runs(path: Path, tmp_path: Path) -> None:
    script = tmp_path / f"{path.stem}.py"
    script.write_text(program(path.read_text("utf-8")), "utf-8")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    run = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, f"{path.name}, by its own lines:\n{run.stderr}"


def test_the_links_inside_the_project_lead_somewhere() -> None:
    broken = []
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text("utf-8")):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken
