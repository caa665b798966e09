"""The program in a completion: which of its code blocks solve the problem.

Models add a usage or an output block after the solution, or put helper functions in a block of
their own. Knows Markdown and the names that Python code defines; runs nothing.
"""

import ast
import re
import textwrap

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)\Z")
_LANGUAGES = ("", "python", "python3", "py", "py3")
_GUARD = re.compile(
    r"""^if\s+__name__\s*==\s*(['"])__main__\1\s*:.*\n(?:[ \t]+.*(?:\n|\Z)|[ \t]*\n)*""",
    re.MULTILINE,
)
_DEFINED = re.compile(r"^\s*(?:async\s+)?def\s+(\w+)", re.MULTILINE)
_CHECKED = re.compile(r"^\s*check\(\s*(\w+)\s*\)", re.MULTILINE)


def python_blocks(completion: str) -> list[str]:
    """The complete code blocks that may be Python, in order, as CommonMark reads them."""
    blocks: list[str] = []
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for line in completion.replace("\r\n", "\n").split("\n"):
        fence = _FENCE.match(line.rstrip())
        if opened is None:
            opened, lines = fence, []
        elif fence and fence["fence"].startswith(opened["fence"]) and not fence["info"]:
            language = opened["info"].split()[0].lower() if opened["info"].split() else ""
            if language in _LANGUAGES:
                blocks.append("".join(f"{_outdented(line, opened['indent'])}\n" for line in lines))
            opened = None
        else:
            lines.append(line)
    return blocks


def solution(blocks: list[str], entry_point: str | None) -> str | None:
    """The last block that defines the entry point, after the definitions elsewhere that it uses.

    Without an entry point, or where no block defines it, the last block that defines a function
    which no other block uses, or the last block of all: it may be the rest of a function that the
    problem begins.
    """
    defining = [block for block in blocks if _DEFINED.search(block)]
    if entry_point:
        defining = [block for block in defining if entry_point in _DEFINED.findall(block)]
        if not defining:
            return solution(blocks, None)
    else:
        wanted = set().union(*map(_names_missing, blocks))
        defining = [b for b in defining if not wanted & set(_DEFINED.findall(b))] or defining
    if not defining:
        return blocks[-1] if blocks else None
    chosen = defining[-1]
    others = [block for block in blocks if block is not chosen]
    return "".join([*_helpers(chosen, others), chosen])


def entry_point(problem: str, tests: str) -> str | None:
    """The function that the tests check, or else the last one that the problem begins."""
    names = _CHECKED.findall(tests) or _DEFINED.findall(problem)
    return names[-1] if names else None


def without_guard(program: str) -> str:
    """The program without what it would do as a script, such as asking for input."""
    return _GUARD.sub("", program)


def _outdented(line: str, indent: str) -> str:
    """A line of a block less the indentation of its fence."""
    return line[len(indent) :] if line.startswith(indent) else line.lstrip()


def _helpers(chosen: str, others: list[str]) -> list[str]:
    """Definitions and imports of other blocks that the chosen one uses and has not."""
    available: dict[str, str] = {}
    for block in others:
        for node in _statements(block):
            source = ast.unparse(node) + "\n\n\n"
            available.update(dict.fromkeys(_names_defined(node), source))
    helpers: list[str] = []
    wanted, known = _names_missing(chosen), set[str]()
    while missing := (wanted & available.keys()) - known:
        name = min(missing)
        helpers.insert(0, available[name])
        known.add(name)
        wanted |= _names_missing(available[name])
    return list(dict.fromkeys(helpers))


def _statements(block: str) -> list[ast.stmt]:
    try:
        return ast.parse(textwrap.dedent(block)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _names_defined(node: ast.stmt) -> list[str]:
    """What a statement defines by itself: functions, classes, imports, constants."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign) and not any(isinstance(n, ast.Call) for n in ast.walk(node)):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _names_missing(block: str) -> set[str]:
    """Names that a block reads and nowhere binds."""
    statements = _statements(block)
    nodes = [node for statement in statements for node in ast.walk(statement)]
    read = {node.id for node in nodes if isinstance(node, ast.Name) and _is_read(node)}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and not _is_read(node)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {name for node in nodes if isinstance(node, ast.stmt) for name in _names_defined(node)}
    return read - bound


def _is_read(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Load)
