"""A list of things to do that all browsers share: SQLAlchemy writes it, and each browser sees every write at once.

Run it with ``uvicorn todos_app:app``, and open http://127.0.0.1:8000 in two windows.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateTable

from shapestore import ShapeStore, SQLSource
from shapestore.http import ShapeApp, txid

URL = "sqlite:///todos.db"
engine = create_engine(URL)
store = ShapeStore("shapes.db", create=SQLSource(URL, follow=True))


class Base(DeclarativeBase):
    pass


class Todo(Base):
    __tablename__ = "todo"

    id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    done: Mapped[bool] = mapped_column(default=False)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with engine.begin() as connection:
        connection.execute(text("PRAGMA journal_mode = WAL"))  # which a source that is followed must have
        connection.execute(CreateTable(Base.metadata.tables["todo"], if_not_exists=True))
    async with store:
        yield


class Change(BaseModel):
    title: str
    done: bool = False


app = FastAPI(lifespan=lifespan)
app.mount("/sync", ShapeApp(store, tables={"todo": None}))


@app.put("/todos/{number}")
def put(number: str, change: Change) -> dict[str, int]:
    """The page shows the write as it was made there, until the change with this txid has come back to it."""
    with Session(engine) as session, session.begin():
        session.merge(Todo(id=number, title=change.title, done=change.done))
        return {"txid": txid(session.connection())}


@app.delete("/todos/{number}")
def delete(number: str) -> dict[str, int]:
    with Session(engine) as session, session.begin():
        todo = session.get(Todo, number)
        if todo is None:  # another browser was quicker: the page takes its own write back, and hears of that one
            raise HTTPException(404, "no such todo")
        session.delete(todo)
        return {"txid": txid(session.connection())}


app.mount("/", StaticFiles(directory=Path(__file__).parent / "todos_page", html=True))
