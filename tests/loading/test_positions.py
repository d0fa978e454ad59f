import transformers
from tests.loading import material
from torch import nn

from heedful.loading.positions import embedded_tokens, learned_positions, trained_positions


def test_tables_of_positions_are_found() -> None:
    assert learned_positions(material.make_model("gpt2")) == 64
    assert learned_positions(material.make_model("bert")) == 64
    assert learned_positions(material.make_model("llama")) is None


def test_rows_that_padding_takes_are_not_counted() -> None:
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20}
    roberta = transformers.RobertaModel(
        transformers.RobertaConfig(**size, intermediate_size=8, max_position_embeddings=34, pad_token_id=1)
    )
    assert learned_positions(roberta) == 32
    opt = transformers.OPTModel(
        transformers.OPTConfig(**size, ffn_dim=8, max_position_embeddings=32, word_embed_proj_dim=16)
    )
    assert learned_positions(opt) == 32


def test_positions_of_image_patches_are_no_limit_of_text() -> None:
    size = {"hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = transformers.LlamaConfig(**size, vocab_size=20)
    vision = transformers.CLIPVisionConfig(**size, image_size=16, patch_size=8)
    model = transformers.LlavaModel(transformers.LlavaConfig(text_config=text, vision_config=vision))
    assert learned_positions(model) is None


def test_configs_name_what_a_model_was_made_for() -> None:
    assert trained_positions(material.make_model("llama")) == 32
    assert trained_positions(nn.Linear(1, 1)) is None


def test_rows_of_the_embedding() -> None:
    assert embedded_tokens(material.make_model("llama")) == len(material.make_backend().get_vocab())
    assert embedded_tokens(nn.Linear(1, 1)) is None
