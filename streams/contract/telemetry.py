"""Every metric name with its unit and what it says; one table for exporters, console and documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MetricKind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One exported metric. The unit stands in the name, as Prometheus has it."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A metric's value at one moment; `labels` are the labels' values, in the metric's order."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


METRICS: tuple[Metric, ...] = (
    # gateway
    Metric("freshet_score_requests_total", "counter", "Scoring requests by outcome.", ("outcome",)),
    Metric("freshet_score_latency_seconds", "histogram", "Time from request to answer."),
    Metric("freshet_score_candidates_total", "counter", "Candidates scored."),
    Metric("freshet_recommend_requests_total", "counter", "Recommendation requests by outcome.", ("outcome",)),
    Metric("freshet_recommend_latency_seconds", "histogram", "Time from request to recommendation."),
    Metric("freshet_recommend_items_total", "counter", "Items recommended."),
    Metric("freshet_candidate_pool_items", "gauge", "Items that can be recommended without the recommender."),
    Metric("freshet_requests_in_flight", "gauge", "Requests being answered now."),
    Metric("freshet_flags_total", "counter", "Answers that carried a flag.", ("flag",)),
    Metric("freshet_served_version", "gauge", "Version of the newest answer.", ("arm",)),
    Metric("freshet_served_freshness_seconds", "gauge", "Age of the newest event the served version has learnt."),
    Metric("freshet_impressions_logged_total", "counter", "Impressions written to the event log."),
    Metric("freshet_impressions_spooled", "gauge", "Impressions on local disk, waiting for the event log."),
    Metric("freshet_impressions_dropped_total", "counter", "Impressions lost because the spool was full."),
    Metric("freshet_events_total", "counter", "Events taken in by kind and outcome.", ("kind", "outcome")),
    Metric("freshet_hedged_inferences_total", "counter", "Inferences sent twice, by who answered first.", ("outcome",)),
    # join
    Metric("freshet_join_examples_total", "counter", "Examples emitted by the join.", ("kind",)),
    Metric("freshet_join_corrections_total", "counter", "Examples whose label changed after the window."),
    Metric("freshet_join_duplicates_total", "counter", "Events recognised as sent before."),
    Metric("freshet_join_repeated_total", "counter", "Feedback of a kind that its candidate had already."),
    Metric("freshet_join_events_total", "counter", "Events joined.", ("kind",)),
    Metric("freshet_join_lag_events", "gauge", "Events in the log that are not joined yet.", ("partition",)),
    Metric("freshet_join_watermark_seconds", "gauge", "Newest event time joined, in Unix time.", ("partition",)),
    Metric("freshet_join_waiting_impressions", "gauge", "Impressions whose window is open, once a kind."),
    Metric("freshet_join_held_feedback", "gauge", "Feedback that waits for its impression."),
    Metric("freshet_dead_letters_total", "counter", "Records that could not be used, by reason.", ("reason",)),
    # trainer
    Metric("freshet_examples_trained_total", "counter", "Examples learnt."),
    Metric("freshet_examples_per_second", "gauge", "Examples learnt a second, over the newest ten seconds."),
    Metric("freshet_learnt_age_seconds", "gauge", "Time since the event entered that settled the newest label learnt."),
    Metric("freshet_vocabulary_rows", "gauge", "Ids that have a row of their own."),
    Metric("freshet_normalized_entropy", "gauge", "Progressive normalized entropy of the newest window."),
    Metric("freshet_auc", "gauge", "Progressive AUC of the newest window."),
    Metric("freshet_calibration", "gauge", "Mean prediction over mean label in the newest window."),
    Metric(
        "freshet_calibration_error", "gauge", "Expected calibration error of recent predictions by stage.", ("stage",)
    ),
    Metric("freshet_base_rate_log_loss", "gauge", "Log loss of always predicting the window's mean label."),
    Metric("freshet_versions_published_total", "counter", "Versions that passed the gate."),
    Metric("freshet_versions_refused_total", "counter", "Versions that the gate refused, by reason.", ("reason",)),
    Metric("freshet_published_version", "gauge", "Newest version published."),
    Metric(
        "freshet_publish_lag_seconds",
        "gauge",
        "How far the newest version is behind the newest label learnt.",
    ),
    Metric("freshet_publish_append_seconds", "gauge", "Time the newest version took to the event log."),
    Metric("freshet_publish_write_seconds", "gauge", "Time the newest version took to the row store."),
    Metric("freshet_publish_failures_total", "counter", "Tries to publish that found the log or the row store away."),
    Metric("freshet_suggested_window_seconds", "gauge", "Window that the clicks' delays suggest."),
    Metric("freshet_checkpoint_seconds", "gauge", "Time the newest checkpoint took."),
    # recommender's learner
    Metric("freshet_recommender_learn_examples_total", "counter", "Examples that the recommender's learner read."),
    Metric("freshet_recommender_learn_likes_total", "counter", "Likes looked at, then learnt."),
    Metric("freshet_recommender_learn_learnt_age_seconds", "gauge", "Time since the newest like learnt was settled."),
    Metric("freshet_recommender_learn_users", "gauge", "Users with a row."),
    Metric("freshet_recommender_learn_items", "gauge", "Items with a number."),
    Metric("freshet_recommender_learn_ndcg_at_100", "gauge", "Progressive NDCG@100 of the newest window."),
    Metric("freshet_recommender_learn_recall_at_20", "gauge", "Progressive Recall@20 of the newest window."),
    Metric("freshet_recommender_learn_log_loss", "gauge", "Progressive log loss over the catalogue, newest window."),
    Metric("freshet_recommender_learn_base_ndcg_at_100", "gauge", "Progressive NDCG@100 of the popularity model."),
    Metric("freshet_recommender_learn_base_log_loss", "gauge", "Progressive log loss of the popularity model."),
    Metric("freshet_recommender_learn_versions_published_total", "counter", "Versions that passed the gate."),
    Metric("freshet_recommender_learn_versions_refused_total", "counter", "Versions refused, by reason.", ("reason",)),
    Metric("freshet_recommender_learn_published_version", "gauge", "Newest version published."),
    Metric("freshet_recommender_learn_publish_failures_total", "counter", "Tries that found log or store away."),
    Metric("freshet_recommender_learn_checkpoint_seconds", "gauge", "Time the newest checkpoint took."),
    # scorer
    Metric("freshet_scorer_version", "gauge", "Version applied in the scorer."),
    Metric("freshet_scorer_hot_rows", "gauge", "Rows held in the scorer's memory."),
    Metric("freshet_scorer_misses_total", "counter", "Rows fetched from Redis."),
    Metric("freshet_scorer_defaults_total", "counter", "Lookups answered by a table's default row."),
    # recommender
    Metric("freshet_recommender_version", "gauge", "Version applied in the recommender."),
    Metric("freshet_recommender_items", "gauge", "Items in the recommender's catalogue."),
    Metric("freshet_recommender_hot_rows", "gauge", "Rows of users and histories held in the recommender's memory."),
    Metric("freshet_recommender_requests_total", "counter", "Requests answered with items."),
    Metric("freshet_recommender_passes_total", "counter", "Batches that these requests were answered in."),
    Metric("freshet_recommender_misses_total", "counter", "Rows of users and histories asked of Redis."),
    Metric("freshet_recommender_cached_states_total", "counter", "States of users that were computed before."),
    Metric("freshet_recommender_unknown_users_total", "counter", "Requests of users of whom nothing is known."),
    Metric("freshet_recommender_late_total", "counter", "Requests let go, for no answer would have come in time."),
)


def metric(name: str) -> Metric:
    """The metric of that name (it must exist)."""
    return next(m for m in METRICS if m.name == name)
