"""Models of other packages: timm, x-transformers, TransformerLens and sentence-transformers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from architectures.case import SHARPNESS, Case, seeded
from architectures.families.made import ENCODER, made
from architectures.inputs import VOCABULARY, noise, text, whole

PICTURE = {"img_size": 32, "num_classes": 5}
SMALL = {**PICTURE, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 4}
WINDOWS = {**PICTURE, "patch_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "timm vit": ("vit_tiny_patch16_224", SMALL),
    "timm vit (map pooling)": ("vit_base_patch16_siglip_224", {**SMALL, "embed_dim": 32}),
    "timm deit": ("deit_tiny_distilled_patch16_224", SMALL),
    "timm beit": ("beit_base_patch16_224", SMALL),
    "timm eva": ("eva02_tiny_patch14_224", SMALL),
    "timm cait": ("cait_xxs24_224", {**SMALL, "depth": 2}),
    "timm xcit": ("xcit_nano_12_p8_224", {**SMALL, "patch_size": 8}),
    "timm swin": ("swin_tiny_patch4_window7_224", WINDOWS),
    "timm swinv2": ("swinv2_tiny_window8_256", WINDOWS),
    "timm convit": ("convit_tiny", {**SMALL, "local_up_to_layer": 1}),
    "timm twins": (
        "twins_svt_small",
        {
            **PICTURE,
            "img_size": 64,
            "embed_dims": (16, 32, 32, 32),
            "num_heads": (2, 4, 4, 4),
            "depths": (1, 2, 1, 1),
            "wss": (4, 4, 4, 4),
        },
    ),
    "timm maxvit": (
        "maxvit_rmlp_pico_rw_256",
        {**PICTURE, "img_size": 64, "depths": (1, 1), "embed_dim": (32, 64), "stem_width": 8},
    ),
    "timm pvt_v2": (
        "pvt_v2_b0",
        {"num_classes": 5, "depths": (1, 1, 1, 1), "embed_dims": (8, 16, 32, 32), "num_heads": (1, 2, 4, 4)},
    ),
    "timm crossvit": (
        "crossvit_tiny_240",
        {
            **PICTURE,
            "img_scale": (1.0, 1.0),
            "patch_size": (4, 8),
            "embed_dim": (16, 32),
            "num_heads": (2, 4),
            "depth": ((1, 1, 0),),
        },
    ),
    "timm coat": (
        "coat_tiny",
        {
            **PICTURE,
            "img_size": 64,
            "embed_dims": (32, 32, 32, 32),
            "serial_depths": (1, 1, 1, 1),
            "parallel_depth": 1,
            "num_heads": 8,
        },
    ),
    "timm nest": (
        "nest.Nest",
        {**PICTURE, "embed_dims": (16, 32), "num_heads": (2, 4), "depths": (1, 1), "num_levels": 2, "patch_size": 4},
    ),
    "timm volo": (
        "volo.VOLO",
        {
            **PICTURE,
            "img_size": 64,
            "layers": (1, 1),
            "embed_dims": (16, 32),
            "num_heads": (2, 4),
            "mlp_ratio": (2, 2),
            "downsamples": (True, False),
            "outlook_attention": (True, False),
        },
    ),
}


def _timm(name: str, settings: dict[str, Any]) -> Callable[[bool], nn.Module]:
    def build(eager: bool) -> nn.Module:
        import timm
        from timm.layers import set_fused_attn

        set_fused_attn(not eager)
        try:
            made_by = partial(timm.create_model, name, pretrained=False)
            if "." in name:
                file, cls = name.split(".")
                made_by = getattr(importlib.import_module(f"timm.models.{file}"), cls)
            return seeded(partial(made_by, **settings), 1.0 if "swinv2" in name else 2.0)
        finally:
            set_fused_attn(True)

    return build


class Keyword(nn.Module):
    """A model that takes its first argument by position, called by keyword."""

    def __init__(self, inner: nn.Module, mask: str = "mask") -> None:
        super().__init__()
        self.inner = inner
        self.mask = mask

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
        """Token ids and which of them are real."""
        if attention_mask is not None:
            more[self.mask] = attention_mask.bool() if self.mask == "mask" else attention_mask
        return self.inner(input_ids, **more)


def _pictures(side: int) -> Callable[[nn.Module], dict[str, Any]]:
    return lambda model: {"x": noise(3, 3, side, side)}


HEADS = {"dim": 32, "depth": 2, "heads": 4, "attn_dim_head": 8, "ff_mult": 2}
X_TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "x-transformers decoder": ("Decoder", {}),
    "x-transformers decoder (flash)": ("Decoder", {"attn_flash": True}),
    "x-transformers decoder (rotary)": ("Decoder", {"rotary_pos_emb": True}),
    "x-transformers decoder (alibi)": ("Decoder", {"alibi_pos_bias": True, "alibi_num_heads": 2}),
    "x-transformers decoder (shared keys)": ("Decoder", {"attn_kv_heads": 2}),
    "x-transformers decoder (memory keys)": ("Decoder", {"attn_num_mem_kv": 3}),
    "x-transformers decoder (normed queries)": ("Decoder", {"attn_qk_norm": True}),
    "x-transformers decoder (talking heads)": ("Decoder", {"attn_pre_talking_heads": True}),
    "x-transformers decoder (gated)": ("Decoder", {"attn_gate_values": True}),
    "x-transformers encoder": ("Encoder", {}),
    "x-transformers encoder (T5 bias)": ("Encoder", {"rel_pos_bias": True}),
}


def _x_transformer(side: str, settings: dict[str, Any]) -> Callable[[bool], nn.Module]:
    def build(eager: bool) -> nn.Module:
        import x_transformers

        def make() -> nn.Module:
            layers = getattr(x_transformers, side)(**HEADS, **settings)
            inner = x_transformers.TransformerWrapper(num_tokens=VOCABULARY, max_seq_len=64, attn_layers=layers)
            return Keyword(inner)

        return seeded(make, 2.0)

    return build


def _after_memory(path: str, queries: int, keys: int) -> int | None:
    return keys - queries


LENS = {
    "n_layers": 2,
    "d_model": 32,
    "n_ctx": 64,
    "d_head": 8,
    "n_heads": 4,
    "d_mlp": 48,
    "d_vocab": VOCABULARY,
    "act_fn": "gelu",
    "seed": 1,
}
TRANSFORMER_LENS: dict[str, dict[str, Any]] = {
    "TransformerLens HookedTransformer": {},
    "TransformerLens HookedTransformer (rotary)": {"positional_embedding_type": "rotary", "rotary_dim": 8},
    "TransformerLens HookedTransformer (shared keys)": {"n_key_value_heads": 2},
    "TransformerLens HookedTransformer (local)": {
        "attn_types": ["global", "local"],
        "use_local_attn": True,
        "window_size": 10,
    },
}


def _lens(settings: dict[str, Any]) -> Callable[[bool], nn.Module]:
    def build(eager: bool) -> nn.Module:
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        def make() -> nn.Module:
            inner = HookedTransformer(HookedTransformerConfig(**LENS, **settings, device="cpu"))
            return Keyword(inner, "attention_mask")

        return seeded(make, 2.0)

    return build


class Words(nn.Module):
    """The first module of a sentence encoder: token embeddings."""

    def __init__(self, auto_model: nn.Module) -> None:
        super().__init__()
        self.auto_model = auto_model

    def forward(self, features: dict[str, Tensor], **more: Any) -> dict[str, Tensor]:
        """Tokens and their mask, and the embeddings beside them."""
        out = self.auto_model(input_ids=features["input_ids"], attention_mask=features["attention_mask"])
        return {**features, "token_embeddings": out.last_hidden_state}


class Sentences(nn.Module):
    """A sentence encoder called with tokens, as its own ``forward`` takes them in one dictionary."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Tensor:
        """The embedding of each sequence."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        found: Tensor = self.encoder({"input_ids": input_ids, "attention_mask": mask})["sentence_embedding"]
        return found


SENTENCES = {"mean": "bert", "cls": "mpnet", "max": "xlm-roberta"}


def _sentences(pooling: str, name: str) -> Callable[[bool], nn.Module]:
    def build(eager: bool) -> nn.Module:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Pooling

        keywords = {**ENCODER, "max_position_embeddings": 80}
        words = Words(made(name, keywords, "AutoModel", eager, SHARPNESS))
        return Sentences(SentenceTransformer(modules=[words, Pooling(32, pooling_mode=pooling)], device="cpu")).eval()

    return build


CASES = [
    *(
        Case(
            name,
            _timm(model, settings),
            whole(_pictures(settings.get("img_size", 64))),
            package="timm",
            family="timm",
            interleaved="nest" in name,
        )
        for name, (model, settings) in TIMM.items()
    ),
    *(
        Case(
            name,
            _x_transformer(side, settings),
            text("right", *(["left"] if "rotary" in name else [])),
            package="x-transformers",
            family="x-transformers",
            positions=_after_memory,
        )
        for name, (side, settings) in X_TRANSFORMERS.items()
    ),
    *(
        Case(name, _lens(settings), text("right", "left"), package="transformer-lens<4", family="TransformerLens")
        for name, settings in TRANSFORMER_LENS.items()
    ),
    *(
        Case(
            f"sentence-transformers {name} ({pooling} pooling)",
            _sentences(pooling, name),
            text("right"),
            package="sentence-transformers",
            family="sentences",
        )
        for pooling, name in SENTENCES.items()
    ),
]
