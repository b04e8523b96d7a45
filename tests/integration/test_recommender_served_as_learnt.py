"""What a served recommender answers is what its learner would: the same items, with the same probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from freshet.cli import main
from llm_rec.documents import Writer
from llm_rec.live.learner import LiveLearner
from llm_rec.model_folder import LearntModel, read_model
from llm_rec.scoring import history_prompts, score_prompts
from serving.recommender.config import RecommenderConfig
from serving.recommender.recommender import Recommender
from serving.recommender.service import start_recommender
from streams.contract.columns import Array
from streams.contract.recommend_wire import RECOMMENDER
from streams.log.event_log import EventLog, open_log
from streams.store.row_store import RowStore, open_row_store
from tests.support.liked_films import write_films
from tests.support.live_recommender import CONFIG, batches, fitted, newcomers, shown
from tests.support.patience import PATIENT
from tests.support.published_recommender import Publishing, publishing
from tests.support.recommending import answer_of, assert_recommends
from tests.support.valkey import ValkeyServer, flush

pytestmark = pytest.mark.slow
NEW = 30
RECIPES = ("names users", "cllm4rec-small")


@pytest.fixture(scope="module", params=RECIPES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LearntModel:
    """A recipe whose prompts name users; and the small one, which has a linear way beside the language model."""
    if request.param == RECIPES[0]:
        return fitted()
    folder = tmp_path_factory.mktemp("small")
    out = folder / "out"
    data = write_films(folder / "data")
    assert main(["recommender", "train", "--data", data, "--split", "time", "--out", str(out)]) == 0
    learnt = read_model(out)
    assert "path.given" in learnt.learnt
    return learnt


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"embedded:{tmp_path / 'log'}")
    yield opened
    opened.close()


@pytest.fixture
def store(valkey: ValkeyServer) -> Iterator[RowStore]:
    flush([valkey])
    opened = open_row_store(valkey.address, model=RECOMMENDER, password="")
    yield opened
    opened.close()


def test_answers_are_the_learners_before_and_behind_likes_of_new_users_and_new_items(
    model: LearntModel, log: EventLog, store: RowStore, valkey: ValkeyServer
) -> None:
    torch.set_num_threads(1)
    learns = LiveLearner(model, CONFIG)
    asked = (model.users[0], model.users[3], "new0-1", "new0-2", "nobody")
    config = RecommenderConfig(log=log.address, redis=valkey.address, live_poll_seconds=0.02, **PATIENT)
    with publishing(learns, log, store) as to:
        assert to.publish()
        service = start_recommender(config, environment={})
        try:
            _compare(learns, service, asked, store)
            for batch in batches(newcomers(12)):
                learns.learn(batch)
            learns.learn(shown([("new0-1", NEW), (model.users[0], NEW + 1), ("x", NEW + 2)], liked=[True, True, False]))
            learns.learn(shown([("new0-2", NEW + 1)], start=9))
            _publish(to)
            _compare(learns, service, asked, store)
        finally:
            service.close()


def _publish(to: Publishing) -> None:
    assert to.publish(), to.publisher.status()


def _compare(learns: LiveLearner, service: Recommender, users: tuple[str, ...], store: RowStore) -> None:
    head = store.head(store.generations()[-1])
    assert head is not None
    assert service.wait_for_version(head.version, 60)
    for user in users:
        scores, history = _of_learner(learns, user), learns.users.history(user)
        left = [number for number in np.argsort(-scores, kind="stable").tolist() if number not in history]
        expected = [(learns.items.items[number].name, float(scores[number])) for number in left]
        answer = answer_of(service, user, k=len(left))
        assert answer.version == head.version
        assert_recommends(answer, expected)


def _of_learner(learns: LiveLearner, user: str) -> Array:
    """(J,) ln of the probability of each item as the user's next like, among all."""
    recipe, models = learns.recipe, learns.tables.models
    writer = Writer(models.vocabulary, recipe.switches.wording, min(recipe.max_tokens, models.backbone.max_tokens))
    place = learns.users.place(user) if learns.names_users else None
    finetuned = recipe.schedule.finetuning_epochs > 0
    prompts = history_prompts(writer, recipe.switches, [place], [learns.users.history(user)], finetuned=finetuned)
    logits = score_prompts(models, prompts)[0, : learns.tables.num_items].astype(np.float64)
    scores: Array = log_softmax(logits / learns.temperature.value)
    return scores
