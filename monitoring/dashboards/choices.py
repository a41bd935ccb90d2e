"""The variables that dashboards offer, and the label matchers that apply them."""

from __future__ import annotations

from typing import Final

from llm_gateway.core import metric_catalogue as catalogue
from monitoring.model import Variable

PROVIDER: Final = Variable(name="provider", label="Provider", metric=catalogue.REQUESTS)
MODEL: Final = Variable(name="model", label="Model", metric=catalogue.REQUESTS)
CREDENTIAL: Final = Variable(name="credential", label="Credential", metric=catalogue.CREDENTIAL_REQUESTS)
INSTANCE: Final = Variable(name="instance", label="Instance", metric=catalogue.CONFIG_VERSION)

OF_INSTANCE: Final = 'instance=~"$instance"'
OF_PROVIDER: Final = f'provider=~"$provider", {OF_INSTANCE}'
OF_MODEL: Final = f'model=~"$model", {OF_PROVIDER}'
OF_CREDENTIAL: Final = f'credential=~"$credential", {OF_INSTANCE}'
