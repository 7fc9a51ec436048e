class error(Exception): ...  # noqa: N801, N818 - re2's own name

class Options:
    log_errors: bool

class _Regexp:
    def search(self, text: str) -> object | None: ...

def compile(pattern: str, options: Options | None = ...) -> _Regexp: ...  # noqa: A001 - re2's own name
