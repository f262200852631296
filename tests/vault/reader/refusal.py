"""What the reader says when it does not give out content (vault-format §10)."""

TAMPERED, MISSING, NO_KEY, FUTURE = "tampered", "missing", "no key", "future version"


class Refusal(Exception):
    """One of the four, with the file and the offset in it where that is known."""

    def __init__(self, what, why, file=None, offset=None):
        super().__init__(why)
        self.what, self.why, self.file, self.offset = what, why, file, offset

    def place(self, file, offset):
        """The same, with its place if it had none."""
        if self.file is None:
            self.file, self.offset = file, offset
        return self

    def __str__(self):
        place = "" if self.file is None else f" {self.file}"
        place += "" if self.offset is None else f" {self.offset}"
        return f"{self.what}{place}: {self.why}"


def tampered(why, file=None, offset=None):
    return Refusal(TAMPERED, why, file, offset)


def future(why, file=None, offset=None):
    return Refusal(FUTURE, why, file, offset)


def missing(why, file=None, offset=None):
    return Refusal(MISSING, why, file, offset)
