"""Prints the size of pipeline/ and tests/ (files, lines, functions, bodies) and the words of docs/, as a Markdown table.

python docs/count.py
"""

import ast
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]


def bodies(path: Path) -> list[int]:
    """The lines of each function's body, without its docstring."""
    lengths = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1:] if ast.get_docstring(node) else node.body
            lengths.append((node.end_lineno or 0) - first[0].lineno + 1 if first else 0)
    return lengths


def row(folder: Path) -> list[str]:
    """Counts of the Python files and templates below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".j2")]
    lengths = [length for path in files if path.suffix == ".py" for length in bodies(path)]
    lines = sum(len(path.read_text("utf-8").splitlines()) for path in files)
    counts = [len(files), lines, len(lengths), max(lengths, default=0), median(lengths or [0])]
    return [str(folder.relative_to(ROOT)), *(f"{count:,.0f}" for count in counts)]


def main() -> None:
    """Print the table."""
    header = ["folder", "files", "lines", "functions", "longest body", "median body"]
    folders = [
        ROOT / "pipeline",
        *sorted(path for path in (ROOT / "pipeline").iterdir() if path.is_dir()),
    ]
    rows = [row(folder) for folder in (*folders, ROOT / "tests") if folder.name != "__pycache__"]
    for line in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(line)} |")
    words = sum(len(path.read_text("utf-8").split()) for path in (ROOT / "docs").glob("*.md"))
    readme = (ROOT / "README.md").read_text("utf-8")
    print(f"\ndocs/*.md: {words:,} words. README.md: {len(readme.splitlines())} lines.")


if __name__ == "__main__":
    main()
