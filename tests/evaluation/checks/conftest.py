from tests.misnormalised import misnormalised_llama

__all__ = ["misnormalised_llama"]
