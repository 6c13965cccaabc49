"""The predicate for a database with typed columns: each operator written so that it means what it means in SQLite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from shapestore.errors import InvalidShapeError
from shapestore.shape.shape import Scalar
from shapestore.shape.where import nodes
from shapestore.shape.where.canonical import canonical
from shapestore.shape.where.nodes import Expression
from shapestore.shape.where.render import case_text
from shapestore.source.catalogue.catalogue import SourceColumn
from shapestore.source.column_type import Kind
from shapestore.source.predicate.bindings import Bindings
from shapestore.source.predicate.conversions import Conversions
from shapestore.source.predicate.dialect import Dialect
from shapestore.source.predicate.functions import Functions
from shapestore.source.predicate.operand import Operand, UntranslatableError, number
from shapestore.source.predicate.pattern import ESCAPE, rewritten

MAX_SQL = 1_000_000
"""The most characters of a translation: some functions need an argument twice, and may stand inside one another."""

_WORDS: Mapping[str, Scalar] = {"NULL": None, "TRUE": True, "FALSE": False}


class Translator:
    """Translates one where for one table. Raises InvalidShapeError where there is no translation."""

    def __init__(
        self,
        dialect: Dialect,
        columns: Mapping[str, SourceColumn],
        spell_column: Callable[[str], str],
        params: Mapping[str, Scalar],
        bindings: Bindings,
    ) -> None:
        self._dialect = dialect
        self._columns = columns
        self._spell_column = spell_column
        self._params = params
        self._bindings = bindings
        self._conversions = Conversions(dialect, bindings)
        self._functions = Functions(dialect, self._conversions)

    def condition(self, expression: Expression) -> str:
        """The SQL of an expression that stands as a condition."""
        operand = self._operand(expression)
        try:
            return self._conversions.truth(operand)
        except UntranslatableError as error:
            raise _refusal(expression, error) from None

    def _operand(self, expression: Expression) -> Operand:
        try:
            operand = self._translated(expression)
            if len(operand.sql) > MAX_SQL:
                raise UntranslatableError(f"its SQL has more than {MAX_SQL} characters; nest fewer functions")
        except UntranslatableError as error:
            raise _refusal(expression, error) from None
        return operand

    def _operands(self, expression: Expression) -> list[Operand]:
        return [self._operand(operand) for operand in expression.operands()]

    def _translated(self, expression: Expression) -> Operand:
        match expression:
            case nodes.Column(name):
                return self._column(name)
            case nodes.Parameter(name):
                return self._conversions.constant(self._params[name])
            case nodes.String(value):
                return self._conversions.constant(value)
            case nodes.Constant(word):
                return self._conversions.constant(_WORDS[word])
            case nodes.Number(digits):
                return self._conversions.constant(number(digits))
            case nodes.Negative(nodes.Number(digits)):
                return self._conversions.constant(number(f"-{digits}"))
            case nodes.Negative(inner):
                return self._negative(self._operand(inner))
            case nodes.Chain(_, ((sign, _), *_)):
                return self._concatenation(expression) if sign == "||" else self._arithmetic(expression)
            case nodes.Case():
                return self._case(expression)
            case nodes.Call(function, _):
                return self._functions.call(function, self._operands(expression))
        return Operand(self._test(expression), Kind.TRUTH)

    def _test(self, expression: Expression) -> str:
        """The operators that give a truth value."""
        match expression:
            case nodes.Not(inner):
                return f"(NOT {self.condition(inner)})"
            case nodes.Junction(word, parts):
                return f"({f' {word} '.join(map(self.condition, parts))})"
            case nodes.Is(left, nodes.Constant("TRUE" | "FALSE" as word), negated):  # in SQLite too a test of truth
                return f"({self.condition(left)} IS {_not(negated)}{word})"
            case nodes.Is(left, nodes.Constant("NULL"), negated):
                [operand] = self._conversions.compared([self._operand(left)])
                return f"({operand.sql} IS {_not(negated)}NULL)"
            case nodes.Like():
                return self._like(expression)
        first, *others = (operand.sql for operand in self._conversions.compared(self._operands(expression)))
        match expression:
            case nodes.Comparison(_, sign, _):
                return f"({first} {sign} {others[0]})"
            case nodes.Is(_, _, negated):
                return self._dialect.identity(first, others[0], negated)
            case nodes.In(_, _, negated):
                return f"({first} {_not(negated)}IN ({', '.join(others)}))"
            case nodes.Between(_, _, _, negated):
                return f"({first} {_not(negated)}BETWEEN {others[0]} AND {others[1]})"
        raise AssertionError(f"no translation of {expression!r}")

    def _column(self, name: str) -> Operand:
        column = self._columns[name].type
        return Operand(
            self._spell_column(name),
            column.kind,
            type_name=column.name,
            is_column=True,
            is_unsigned=column.is_unsigned,
            has_collation=column.kind is Kind.TEXT,
        )

    def _case(self, case: nodes.Case) -> Operand:
        values = [value for _, value in case.branches]
        values += [] if case.otherwise is None else [case.otherwise]
        aligned = self._conversions.aligned([self._operand(value) for value in values])
        conditions = [self.condition(condition) for condition, _ in case.branches]
        branches = list(zip(conditions, (value.sql for value in aligned), strict=False))
        return self._functions.choice(
            case_text(branches, None if case.otherwise is None else aligned[-1].sql), among=aligned
        )

    def _negative(self, operand: Operand) -> Operand:
        if isinstance(operand.value, (int, float)) and operand.kind is not Kind.TRUTH:
            return self._conversions.constant(-operand.value)
        ready = self._conversions.number(operand)
        return Operand(f"(- {ready.sql})", ready.kind)

    def _concatenation(self, chain: nodes.Chain) -> Operand:
        texts = [self._conversions.text(operand) for operand in self._operands(chain)]
        sql = self._dialect.concatenation([text.sql for text in texts])
        return Operand(sql, Kind.TEXT, has_collation=any(text.has_collation for text in texts))

    def _arithmetic(self, chain: nodes.Chain) -> Operand:
        """From left to right: each step is of integers, or of floating-point numbers."""
        result, *others = (self._conversions.number(operand) for operand in self._operands(chain))
        for (sign, _), other in zip(chain.rest, others, strict=True):
            result = self._step(result, sign, other)
        return result

    def _step(self, left: Operand, sign: str, right: Operand) -> Operand:
        of_integers = left.kind is right.kind is Kind.INTEGER
        if sign == "%" and not of_integers:
            raise UntranslatableError("% takes two integers: of other numbers every database has its own remainder")
        first, second = (side.sql if of_integers else self._dialect.floating(side) for side in (left, right))
        match sign:
            case "%":
                sql = self._dialect.remainder(first, second)
            case "/":
                sql = self._dialect.quotient(first, second, of_integers=of_integers)
            case _:
                sql = f"({first} {sign} {second})"
        return Operand(sql, Kind.INTEGER if of_integers else Kind.FLOAT)

    def _like(self, like: nodes.Like) -> str:
        left, pattern = (self._conversions.text(self._operand(side)) for side in (like.left, like.pattern))
        sql = self._pattern(like.pattern, pattern, None if like.escape is None else self._operand(like.escape))
        if not left.has_collation and not pattern.has_collation:
            left = replace(left, sql=self._dialect.by_bytes(left.sql))
        return f"({left.sql} {_not(like.negated)}LIKE {sql} ESCAPE '{ESCAPE}')"

    def _pattern(self, expression: Expression, pattern: Operand, escape: Operand | None) -> str:
        if escape is not None and isinstance(expression, nodes.Call) and expression.function in ("lower", "upper"):
            [inner] = expression.arguments  # no letter escapes in a pattern that is rewritten
            sql = self._pattern(inner, self._conversions.text(self._operand(inner)), escape)
            return f"{expression.function.upper()}({sql})"
        if not isinstance(pattern.value, str):
            if escape is not None:
                raise UntranslatableError("LIKE with ESCAPE takes a pattern that is a string or parameter")
            return f"REPLACE({pattern.sql}, '{ESCAPE}', '{ESCAPE * 2}')"
        text = rewritten(pattern.value, None if escape is None else str(escape.value))
        if text is None:
            raise UntranslatableError("the pattern of LIKE ends with its escape character, which then escapes nothing")
        return self._bindings.bind(text)


def _not(negated: bool) -> str:
    return "NOT " if negated else ""


def _refusal(expression: Expression, why: UntranslatableError) -> InvalidShapeError:
    return InvalidShapeError(f"where: {canonical(expression):.200}: {why}")
