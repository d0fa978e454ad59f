"""Tiny models, tokenizers and texts for the tests of loading, and the oracle of every refusal.

Used as ``from tests.loading import material``.
"""

import json
import pickle
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from heedful.errors import HeedfulError

TEXT = (
    "in the beginning god created heaven and earth now was without form void darkness upon face of deep spirit "
    "moved waters said let there be light saw that it good divided from called day night evening morning first"
)
WORDS = TEXT.split()
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")


def refused(call: Callable[[], Any], code: int, *says: str, seconds: float = 10.0) -> str:
    """The message of a refusal, once it is seen to be one line that advises nothing dangerous."""
    began = time.process_time()
    try:
        result = call()
    except HeedfulError as error:
        caught = error
    else:
        raise AssertionError(f"expected a refusal with exit code {code}, got {result!r:.200}")
    message = str(caught)
    assert caught.exit_code == code, (caught.exit_code, message)
    assert message.strip() and message.isprintable(), message
    for word in ("weights_only", "trust_remote_code=True", "Traceback", "site-packages"):
        assert word not in message, message
    for word in says:
        assert word in message, (word, message)
    assert len(message) < 1500
    assert time.process_time() - began < seconds
    return message


def unhurt(call: Callable[[], Any]) -> str:
    """Call on input that may be broken: it works, or is refused as any other input; ``loaded`` or ``refused``."""
    try:
        call()
    except HeedfulError as error:
        message, code = str(error), error.exit_code
    else:
        return "loaded"
    assert code in (2, 3, 4) and message.isprintable() and "weights_only" not in message, message
    return "refused"


def make_text(sentences: int, seed: int = 0) -> str:
    """Sentences of known words, each with a comma and a full stop."""
    draw = torch.Generator().manual_seed(seed)
    lines = []
    for _ in range(sentences):
        picks = torch.randint(len(WORDS), (10,), generator=draw).tolist()
        words = [WORDS[index] for index in picks]
        lines.append(f"{' '.join(words[:5])}, {' '.join(words[5:])}.")
    return "\n".join(lines) + "\n"


def make_backend(*, before: str | None = "<s>", after: str | None = None) -> Any:
    """A word-level tokenizer of the tokenizers library that sets ``<s>`` before a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *dict.fromkeys(WORDS), ",", ".", "a"))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    around = [token for token in (before, after) if token]
    if around:
        template = " ".join(token for token in (before, "$A", after) if token)
        backend.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[(token, vocabulary[token]) for token in around]
        )
    return backend


def make_tokenizer(*, before: str | None = "<s>", after: str | None = None) -> Any:
    """The same as a tokenizer of transformers."""
    from transformers import PreTrainedTokenizerFast

    backend = make_backend(before=before, after=after)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def make_model(family: str = "gpt2") -> Any:
    """An untrained model of two layers."""
    import transformers as t

    torch.manual_seed(0)
    size = len(make_backend().get_vocab())
    if family == "gpt2":
        config = t.GPT2Config(vocab_size=size, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=1)
        return t.GPT2LMHeadModel(config).eval()
    if family == "llama":
        config = t.LlamaConfig(
            vocab_size=size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=32, tie_word_embeddings=True,
        )  # fmt: skip
        return t.LlamaForCausalLM(config).eval()
    config = t.BertConfig(
        vocab_size=size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64,
    )  # fmt: skip
    return t.BertModel(config).eval()


def save_model(folder: Path, family: str = "gpt2", *, tokenizer: bool = True, shard: str | None = None) -> Path:
    """A model folder as transformers writes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_model(family).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
        if tokenizer:
            make_tokenizer().save_pretrained(folder)
    return folder


def save_checkpoint(
    folder: Path, family: str = "gpt2", name: str = "weights.pt", wrap: Any = None
) -> tuple[Path, Path]:
    """A bare checkpoint of torch.save and its config."""
    model = make_model(family)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    settings = {**json.loads(model.config.to_json_string()), "architectures": [type(model).__name__]}
    (folder / "settings.json").write_text(json.dumps(settings))
    torch.save(wrap(state) if wrap else state, folder / name)
    return folder / name, folder / "settings.json"


def rewrite(path: Path, **changes: Any) -> dict[str, Any]:
    """Change keys of a JSON file; None removes one."""
    settings = json.loads(path.read_text())
    settings |= changes
    settings = {key: value for key, value in settings.items() if value is not None}
    path.write_text(json.dumps(settings))
    return settings


class Payload:
    """Pickles into a call; the calls of these tests create a marker file."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def torch_zip(
    path: Path, content: bytes, extra: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED
) -> Path:
    """A zip archive laid out as torch.save does it, around any pickle."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, record in {"data.pkl": content, "version": b"3\n", "byteorder": b"little", **(extra or {})}.items():
            archive.writestr(f"archive/{name}", record)
    return path


def pickled(value: Any, protocol: int = 2) -> bytes:
    """A pickle stream."""
    return pickle.dumps(value, protocol=protocol)


def raw_safetensors(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path
