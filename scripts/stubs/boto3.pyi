from typing import Any

from botocore.config import Config

def client(service: str, *, region_name: str, config: Config) -> Any: ...
