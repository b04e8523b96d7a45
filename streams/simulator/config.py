"""What an ad market is like, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.contract.errors import InputError
from streams.simulator.delays import DelayConfig


@dataclass(frozen=True, kw_only=True)
class ConversionConfig:
    """Some clicks are followed by a conversion, `delay` after the click."""

    share_of_clicks: float
    delay: DelayConfig


@dataclass(frozen=True, kw_only=True)
class MarketConfig:
    """An ad market. Scales are standard deviations on the logit; raises InputError for values that cannot be."""

    name: str = "small"
    seed: int = 0
    num_impressions: int = 20_000
    start_ms: int = 1_700_000_040_000

    # the market stands still within an epoch, and moves between two
    epoch_ms: int = 60_000

    # audience
    num_users: int = 2_000
    num_segments: int = 8
    latent_dim: int = 4
    sessions_per_epoch: float = 40.0
    impressions_per_session: float = 4.0
    seconds_between_impressions: float = 20.0
    history_length: int = 10

    # ads: campaigns at any one time; one that ends makes room for a new one
    num_campaigns: int = 20
    ads_per_campaign: int = 5
    campaign_lifetime_minutes: float = 60.0
    min_candidates: int = 3
    max_candidates: int = 7

    # what a click depends on
    mean_ctr: float = 0.1
    segment_scale: float = 0.9
    latent_scale: float = 0.6
    ad_scale: float = 0.5
    dense_scale: float = 0.4
    position_bias: float = 0.0

    # how that changes: the share of a weight's variance that an hour renews, and sudden renewals
    drift_per_hour: float = 0.1
    jumps_after_minutes: tuple[int, ...] = ()
    jump_share: float = 0.6

    # what is heard of a click, and when
    click_delay: DelayConfig = field(default_factory=DelayConfig)
    conversion: ConversionConfig | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.mean_ctr < 1.0:
            raise InputError("lies outside 0 to 1", field="mean_ctr", value=self.mean_ctr, remedy="give a probability")
        if not 1 <= self.min_candidates <= self.max_candidates <= self.num_ads:
            raise InputError(f"must rise from 1 to at most {self.num_ads} ads", field="min_candidates, max_candidates",
                             value=(self.min_candidates, self.max_candidates))  # fmt: skip
        if self.num_users < 1 or self.sessions_per_epoch <= 0 or self.impressions_per_session < 1:
            raise InputError("needs users, sessions and impressions", field="num_users, sessions_per_epoch, "
                             "impressions_per_session", value=(self.num_users, self.sessions_per_epoch,
                             self.impressions_per_session))  # fmt: skip
        if not 0.0 <= self.drift_per_hour < 1.0 or not 0.0 <= self.jump_share <= 1.0:
            raise InputError("are shares from 0 to 1", field="drift_per_hour, jump_share",
                             value=(self.drift_per_hour, self.jump_share))  # fmt: skip

    @property
    def num_ads(self) -> int:
        """Ads at any one time."""
        return self.num_campaigns * self.ads_per_campaign

    @property
    def jump_times_ms(self) -> tuple[int, ...]:
        """When weights jump, on the data's clock: the start of the first epoch that begins then or later."""
        after = [-(-minutes * 60_000 // self.epoch_ms) * self.epoch_ms for minutes in self.jumps_after_minutes]
        return tuple(self.start_ms + offset for offset in after)
