"""What could execute a stranger's bytes, found in a syntax tree; ruff knows only a part of it."""

import ast
from collections.abc import Iterator

MODULES = {"cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "runpy", "shelve", "zipimport"}
BUILTINS = {"__import__", "compile", "eval", "exec"}
# By their last name, whatever they are called on.
CALLS = {
    "exec_module", "extractall", "hf_hub_download", "load_module", "load_state_dict_from_url", "read_pickle",
    "snapshot_download", "spec_from_file_location", "unpack_archive",
}  # fmt: skip
FULL_NAMES = {
    "torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "np.load", "numpy.load", "yaml.load",
    "yaml.full_load", "yaml.unsafe_load",
}  # fmt: skip
# Keywords that may stand in a call with this one value, written out.
KEYWORDS = {"trust_remote_code": "False", "allow_pickle": "False", "weights_only": "True", "use_safetensors": "True"}


def loaders(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that could execute what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from (
                (node.lineno, f"{node.module}.{a.name}") for a in node.names if _is_import(node.module or "", a)
            )
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, found) for found in _in_call(node))


def _is_import(module: str, alias: ast.alias) -> bool:
    return module.partition(".")[0] in MODULES or f"{module}.{alias.name}" in FULL_NAMES or alias.name in CALLS


def _in_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
    last = name.rpartition(".")[2]
    if name in BUILTINS | FULL_NAMES or last in CALLS:
        yield name
    values = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    yield from (f"{word}={values[word]}" for word, only in KEYWORDS.items() if values.get(word, only) != only)
    if last == "from_pretrained" and "trust_remote_code" not in values:
        yield f"{name} without trust_remote_code=False"
    if last == "from_pretrained" and None in values:
        yield f"{name} with keywords that are not written out"
