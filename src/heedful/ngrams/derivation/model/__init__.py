"""The model with derived attention as a transformers model, and the models it is compared with."""
