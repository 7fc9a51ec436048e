from typing import Any

class Config:
    def __init__(self, *, retries: dict[str, Any]) -> None: ...
