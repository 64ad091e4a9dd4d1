"""The bars: what a case has to show, and whether it did."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One number against what is to be reached. `value` is None where it could not be measured."""

    text: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    # Digits behind the point that the bar is told with; the value is rounded to as many before it is compared.
    digits: int = 3

    def reached(self):
        if self.value is None:
            return None
        value = round(self.value, self.digits)
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def line(self):
        if self.value is None:
            return f"- not measured: {self.text}"
        unit = f" {self.unit}" if self.unit else ""
        word = {True: "reached", False: "NOT reached"}[self.reached()]
        return f"- {word}: {self.text}: {figure(self.value)}{unit}"


@dataclass(frozen=True)
class Fact:
    """A number that is told and has no bar."""

    text: str

    def line(self):
        return f"- {self.text}"

    def reached(self):
        return None


def figure(value):
    """Two digits behind the point, fewer for what is larger."""
    return f"{value:.2f}" if abs(value) < 20 else f"{value:.1f}" if abs(value) < 200 else f"{value:,.0f}"


def ratio(results, case, step, other, field="wall", own="consign"):
    """How many times as much another row needs, by medians; None where one of the two is not there."""
    ours, theirs = (results.median(case, step, tool, field) for tool in (own, other))
    return theirs / ours if ours and theirs is not None else None


def faster(results, case, step, other, times, own="consign"):
    """A bar: at least so many times faster than another row."""
    return Bar(f"{step}: {own} at least {times} times faster than {other}", ratio(results, case, step, other, own=own),
               at_least=times)


def faster_than_best(results, case, step, others, times, own="consign"):
    """The same beside the fastest of several rows."""
    times_of = {other: value for other in others if (value := ratio(results, case, step, other, own=own)) is not None}
    best = min(times_of, key=times_of.get, default=None)
    name = f"the best peer ({best})" if best else "the best peer"
    return Bar(f"{step}: {own} at least {times} times faster than {name}", times_of.get(best), at_least=times)


def memory(results, case, most=50):
    """A bar: the highest peak of consign in any run of a case."""
    peaks = [run["peak_mb"] for run in results.of(case) if run["tool"].startswith("consign") and "peak_mb" in run]
    return Bar(f"peak memory of consign at most {most} MB", max(peaks, default=None), at_most=most, unit="MB")


def requests(results, case, step, tool, images, source, destination):
    """Two bars: requests an image at each side. They are told with one digit: some questions are asked once a run."""
    answer = []
    for side, most in (("source", source), ("destination", destination)):
        asked = results.median(case, step, tool, f"{side}.requests")
        value = asked / images if asked is not None else None
        text = f"{step}: {tool}, at most {most:.1f} requests an image at the {side}"
        answer.append(Bar(text, value, at_most=round(most, 1), digits=1))
    return answer
