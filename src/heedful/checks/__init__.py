"""One claim a file, judged in nine sections. One line here registers each; ``nine_sections.ORDER`` orders them."""

from heedful.checks.ablation_signature import ablation_signature
from heedful.checks.adjacent_queries_differ import adjacent_queries_differ
from heedful.checks.attention_is_finite import attention_is_finite
from heedful.checks.attention_output_matters import attention_output_matters
from heedful.checks.beliefs_are_diverse import beliefs_are_diverse
from heedful.checks.capture_matches_output import capture_matches_output
from heedful.checks.concentration_keeps_with_length import concentration_keeps_with_length
from heedful.checks.distant_queries_differ import distant_queries_differ
from heedful.checks.divergence_is_proper import divergence_is_proper
from heedful.checks.diversity_tracks_concentration import diversity_tracks_concentration
from heedful.checks.entropy_within_bounds import entropy_within_bounds
from heedful.checks.first_key_sink import first_key_sink
from heedful.checks.future_is_unseen import future_is_unseen
from heedful.checks.global_rotation_is_unseen import global_rotation_is_unseen
from heedful.checks.gradients_reach_attention import gradients_reach_attention
from heedful.checks.heads_are_concentrated import heads_are_concentrated
from heedful.checks.heads_by_verdict import heads_by_verdict
from heedful.checks.induction import induction
from heedful.checks.learned_weights_matter import learned_weights_matter
from heedful.checks.local_bias import local_bias
from heedful.checks.mass_by_distance import mass_by_distance
from heedful.checks.more_than_local_average_matters import more_than_local_average_matters
from heedful.checks.more_than_position_matters import more_than_position_matters
from heedful.checks.nine_sections import head_rows, validate
from heedful.checks.own_text_matters import own_text_matters
from heedful.checks.previous_token import previous_token
from heedful.checks.punctuation_mass import punctuation_mass
from heedful.checks.queries_attend_by_content import queries_attend_by_content
from heedful.checks.rows_sum_to_one import rows_sum_to_one
from heedful.checks.same_token_attraction import same_token_attraction
from heedful.checks.special_token_mass import special_token_mass
from heedful.checks.tables_learn_through_attention import tables_learn_through_attention
from heedful.study import Margins, Settings

__all__ = [
    "Margins",
    "Settings",
    "ablation_signature",
    "adjacent_queries_differ",
    "attention_is_finite",
    "attention_output_matters",
    "beliefs_are_diverse",
    "capture_matches_output",
    "concentration_keeps_with_length",
    "distant_queries_differ",
    "divergence_is_proper",
    "diversity_tracks_concentration",
    "entropy_within_bounds",
    "first_key_sink",
    "future_is_unseen",
    "global_rotation_is_unseen",
    "gradients_reach_attention",
    "head_rows",
    "heads_are_concentrated",
    "heads_by_verdict",
    "induction",
    "learned_weights_matter",
    "local_bias",
    "mass_by_distance",
    "more_than_local_average_matters",
    "more_than_position_matters",
    "own_text_matters",
    "previous_token",
    "punctuation_mass",
    "queries_attend_by_content",
    "rows_sum_to_one",
    "same_token_attraction",
    "special_token_mass",
    "tables_learn_through_attention",
    "validate",
]
