"""Opens kafka-python's clients, and says why where it cannot: the client itself only reports that time ran out."""

from __future__ import annotations

from typing import Any

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from streams.log.kafka_errors import REFUSED
from streams.log.kafka_settings import KafkaSettings


def connect(client_class: Any, settings: KafkaSettings, **options: Any) -> Any:
    """A client of `client_class`. Raises the last connection's own error; nothing stays open then."""
    nets: list[_Net] = []

    def make_net(**configs: Any) -> _Net:
        nets.append(_Net(**configs))
        return nets[-1]

    try:
        return client_class(**settings.client_options(), **options, kafka_client=make_net)
    except BaseException as error:
        for net in nets:
            net.close()
        failures = [net.connections.failure for net in nets if net.connections.failure is not None]
        if failures and isinstance(error, kafka_errors.KafkaTimeoutError):
            raise failures[-1] from error
        raise


class _Connections(KafkaConnectionManager):  # type: ignore[misc]
    """Remembers why a connection failed; a refusal says more than what follows, and ends the first attempts."""

    failure: BaseException | None = None

    def get_connection(self, *args: Any, **options: Any) -> Any:
        if isinstance(self.failure, REFUSED) and not self.bootstrapped:
            raise self.failure
        connection = super().get_connection(*args, **options)
        connection.init_future.add_errback(self._remember)
        return connection

    def _remember(self, failure: BaseException) -> None:
        if not isinstance(self.failure, REFUSED):
            self.failure = failure


class _Net(KafkaNetClient):  # type: ignore[misc]
    def __init__(self, **configs: Any) -> None:
        net = NetworkSelector(**configs)
        self.connections = _Connections(net, **configs)
        super().__init__(net, self.connections, **configs)
