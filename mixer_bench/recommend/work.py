"""One recommendation in the making: who can take part, the contest, the finalists on test."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mixer_bench.audit import audit as auditing
from mixer_bench.data.examples import TaskData
from mixer_bench.errors import MixerBenchError
from mixer_bench.recommend import candidates, costs, decision
from mixer_bench.recommend.candidates import Speed
from mixer_bench.recommend.contest import Contest
from mixer_bench.recommend.costs import Clock, Price, Sizes
from mixer_bench.recommend.decision import Standing
from mixer_bench.recommend.features import Parts
from mixer_bench.recommend.finalists import Finalists
from mixer_bench.recommend.options import Options
from mixer_bench.recommend.values import Candidate, Labels, Looked, Recommendation, State, Suspected
from mixer_bench.results.store import Store
from mixer_bench.runs import machine, plan
from mixer_bench.runs.plan import Gathered
from mixer_bench.runs.request import Request, request
from mixer_bench.runs.speeds import Speeds
from mixer_bench.system.progress import ProgressLog
from mixer_bench.training import launch

PROTOCOL = "linear"
RATHER = 0.5  # probability from which a label is rather wrong than right
PROFILED = 0.2  # of the time, for profiles; without limits to keep, accuracy goes first


@dataclass
class Work:
    """What is asked for, and what becomes of each candidate."""

    options: Options
    typed: Mapping[str, str]  # a model's name as it was asked for
    asked: Request
    gathered: Gathered
    store: Store
    clock: Clock
    tell: Callable[[str], object]
    log: Callable[[float], ProgressLog]
    out: dict[str, tuple[State, str]] = field(default_factory=dict)  # who does not take part to the end, and why
    remarks: list[str] = field(default_factory=list)

    def done(self) -> Recommendation:
        """Do all of it.

        Raises:
            MixerBenchError: no candidate keeps the limits, or none could be measured.
        """
        self.out |= {thing.name: ("unavailable", str(error)) for thing, error in self.gathered.unavailable}
        if not self.gathered.models:
            raise self.gathered.unavailable[0][1]
        speed = self._speed()
        speeds = Speeds(launch.device(self.options.device), self.store)
        prices, limit = self._planned(speeds)
        task, whole = self.gathered.images[0]
        data = whole.limited(limit)
        labelled = len(data.train) + len(data.val)
        self.tell(f"{len(prices)} model{'s' * (len(prices) > 1)}, {labelled:,} labelled images, {speeds.name}")
        contest, order = self._contest(prices, data, limit, speed)
        standings = decision.standings(contest.rounds, order[0])
        finalists, labels, suspected = self._finals(contest, order, standings, limit)
        return Recommendation(
            task=task.name,
            source=data.source,
            classes=data.num_classes,
            **Sizes.of(data)._asdict(),
            limit=limit,
            metric=data.metric,
            device=speeds.name,
            precision=self.asked.precision,
            budget=self.clock.budget,
            spent=self.clock.spent,
            latency_ms=self.options.latency,
            memory=self.options.memory,
            candidates=tuple(self._candidates(contest, order[0], standings, finalists, speed)),
            rounds=tuple(Looked(images=seen.images, candidates=len(seen.right)) for seen in contest.rounds),
            labels=labels,
            suspected=suspected,
            remarks=tuple(self.remarks),
        )

    def _speed(self) -> dict[str, Speed]:
        """Return the candidates' speeds; those that do not keep the limits are out.

        Raises:
            MixerBenchError: no network keeps them.
        """
        cards = [model.card for model in self.gathered.models]
        limited = self.options.latency is not None or self.options.memory is not None
        speed, failed = candidates.speeds(
            cards,
            self.options.device,
            self.asked.precision,
            self.store,
            lambda: limited or self.clock.spent < PROFILED * self.clock.budget,
            self.log,
        )
        self.remarks += failed
        networks = [card.name for card in cards if card.network is not None]
        unfit = {name: speed[name].unfit(self.options.latency, self.options.memory) for name in networks}
        if unfit and all(unfit.values()):
            raise candidates.none_fits(speed, unfit)
        self.out |= {name: ("unfit", reason) for name, reason in unfit.items() if reason}
        return speed

    def _planned(self, speeds: Speeds) -> tuple[dict[str, Price], int | None]:
        """Return who takes part, at which price, and at most how many images a split are looked at."""
        task, whole = self.gathered.images[0]
        prices = {
            model.card.name: costs.price(model, task, whole, self.asked.precision, speeds)
            for model in self.gathered.models
            if model.card.name not in self.out
        }
        names, limit = costs.planned(prices, Sizes.of(whole), whole.num_classes, self.clock.left)
        self.out |= {name: ("untried", "takes more time than --budget leaves") for name in prices if name not in names}
        return {name: prices[name] for name in names}, limit

    def _contest(
        self, prices: Mapping[str, Price], data: TaskData, limit: int | None, speed: Mapping[str, Speed]
    ) -> tuple[Contest, list[str]]:
        """Hold the contest; return it, and the last round's candidates, best first."""
        task, models = self.gathered.images[0][0], [m for m in self.gathered.models if m.card.name in prices]
        options = self.options.run(model=[*self.typed.values()], protocol=(PROTOCOL,), limit=limit)
        limited = dataclasses.replace(self.gathered, models=models, images=[(task, data)])
        runs = plan.make(dataclasses.replace(self.asked, options=options), self.store, limited).asked
        ends = decision.sizes(len(data.train), data.num_classes)
        with machine.joined(options, self.store) as here:
            contest = Contest(
                parts=Parts(data, ends, [(model.card, run) for model, run in zip(models, runs, strict=True)], here),
                prices=prices,
                latency={name: each.latency_ms or 0.0 for name, each in speed.items()},
                sizes=Sizes.of(data),
                metric=data.metric,
                device=str(here.device),
                clock=self.clock,
                log=self.log,
            )
            order = contest.held([*prices], ends)
        self.out |= {name: ("unavailable", reason) for name, reason in contest.parts.lost.items()}
        return contest, order

    def _finals(
        self, contest: Contest, order: Sequence[str], standings: Sequence[Standing], limit: int | None
    ) -> tuple[Finalists, Labels, Suspected | None]:
        """Measure the winner, and those of the last round that chance may have put behind it, as time lets."""
        behind = {each.candidate for each in standings if each.behind}
        some, known = [order[0]], contest.labels
        for name in order[1:]:
            if name not in behind and contest.test_seconds([*some, name]) <= self.clock.left:
                some.append(name)
        finalists = Finalists(self.options, self.typed, limit, self.store, self.clock, self.tell, self.log)
        finalists.measure(some, known)
        in_time = contest.curve_seconds(order[0]) <= self.clock.left
        features, penalty = contest.last(order[0]) if in_time else (None, 0.0)
        labels = finalists.labels(order[0], known, features, penalty, contest.device)
        suspected = self._suspected(contest, order[0], limit)
        finalists.tune(some)
        return finalists, labels, suspected

    def _suspected(self, contest: Contest, winner: str, limit: int | None) -> Suspected | None:
        """Look for wrong labels with the winner's features if there is time; an audit that fails is a remark."""
        if contest.audit_seconds(winner) > self.clock.left:
            return None
        options = self.options.run(model=[self.typed[winner]], protocol=(PROTOCOL,), limit=limit)
        try:
            told, _ = auditing.audit(request(options), self.log)
        except MixerBenchError as error:
            self.remarks.append(f"wrong labels could not be looked for: {error}")
            return None
        names = tuple(f"{each.image.split} {each.image.name}" for each in told.suspects if each.p_wrong > RATHER)
        return Suspected(wrong=told.wrong, ci95=told.wrong_ci95, images=names)

    def _candidates(
        self,
        contest: Contest,
        winner: str,
        standings: Sequence[Standing],
        finalists: Finalists,
        speed: Mapping[str, Speed],
    ) -> list[Candidate]:
        """Return all candidates: the winner, the others by how far they came, those that took no part."""
        first = Candidate(
            model=winner,
            state="winner",
            images=contest.rounds[-1].images,
            score=contest.rounds[-1].score(winner),
            **speed[winner]._asdict(),
            **finalists.told(winner),
        )
        others = [
            Candidate(
                model=each.candidate,
                state="behind" if each.behind else "tied",
                images=contest.rounds[each.round].images,
                score=each.score,
                difference=each.against.difference,
                ci95=each.against.ci95,
                p=each.p,
                **speed[each.candidate]._asdict(),
                **finalists.told(each.candidate),
            )
            for each in standings
            if each.candidate not in self.out
        ]
        without = [
            Candidate(model=name, state=state, reason=reason, **speed.get(name, Speed())._asdict())
            for name, (state, reason) in self.out.items()
        ]
        return [first, *others, *without]
