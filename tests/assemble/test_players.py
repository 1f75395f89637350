"""Names in the config are names of parts."""

from typing import get_args

from rstar2.config.playing import RolloutSection
from rstar2.rollout.placement.catalog import DEFAULT_POLICY, POLICY_NAMES


def test_every_policy_can_be_chosen_by_its_name_and_ours_is_the_default() -> None:
    names = get_args(RolloutSection.model_fields["policy"].annotation)
    assert set(names) == set(POLICY_NAMES)
    assert RolloutSection().policy == DEFAULT_POLICY
