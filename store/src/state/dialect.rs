//! The two SQL databases behind one small face: a statement with texts and integers goes in, rows come out. What is said in SQL is
//! the same for both (`$1`, `$2`, ...; the texts are this module's own, values are only ever arguments); how connections are had, and how a
//! write takes its turn, differs.

use std::error::Error;
use std::future::Future;
use std::ops::DerefMut;
use std::pin::Pin;

use model::state::StateError;

/// A value in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// A text, or NULL.
    Maybe(Option<String>),
}

impl From<i64> for Arg {
    fn from(number: i64) -> Self {
        Arg::Int(number)
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Arg::Text(text.to_owned())
    }
}

impl From<String> for Arg {
    fn from(text: String) -> Self {
        Arg::Text(text)
    }
}

impl From<Option<String>> for Arg {
    fn from(text: Option<String>) -> Self {
        Arg::Maybe(text)
    }
}

/// Values in the order of `$1`, `$2`, ...
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::state::dialect::Arg::from($value)),*] };
}
pub(crate) use args;

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// It does: what is confirmed outlives the machine.
    Yes,
    /// It does not; the next one that does makes it lasting too, because both databases write one log in order.
    WithTheNext,
}

/// What a failure of a statement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another row holds what must be unique.
    Taken,
    /// The database took the transaction back (serialization failure, deadlock): to be read and decided again.
    Again,
    /// Anything else.
    Other,
}

/// A database that keeps state.
pub trait Dialect: Send + Sync + Sized + 'static {
    /// The migrations' word for a text column.
    const TEXT: &'static str;
    /// What the migrations of these numbers say to this database alone, after what they say to both.
    const MIGRATIONS: &'static [(i64, &'static str)];
    /// How a statement begins that adds rows, or changes them, and whose failure takes the whole transaction back.
    const INSERT: &'static str;
    /// See [`Dialect::INSERT`].
    const UPDATE: &'static str;
    /// What goes wrong.
    type Error: Error + Send + Sync + 'static;
    /// Where connections are had: one for writes, some for reads.
    type Pool: Send + Sync;
    /// Where statements run.
    type Connection: Send;
    /// A write that has its turn; dropped, it is rolled back.
    type Transaction: DerefMut<Target = Self::Connection> + Send;
    /// One row of an answer.
    type Row: Send + Sync;
    /// Begins a write: the transaction has its turn, no other write of any node happens before it ends.
    fn begin(writer: &Self::Pool, synced: Synced) -> impl Future<Output = Result<Self::Transaction, Self::Error>> + Send;
    /// Ends a write: it is so.
    fn commit(write: Self::Transaction) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Asks on a reading connection. `many`: the answer may be long.
    fn read(
        readers: &Self::Pool,
        sql: &str,
        args: Vec<Arg>,
        many: bool,
    ) -> impl Future<Output = Result<Vec<Self::Row>, Self::Error>> + Send;
    /// Runs a statement; gives the number of rows that it changed.
    fn run(on: &mut Self::Connection, sql: &str, args: Vec<Arg>) -> impl Future<Output = Result<u64, Self::Error>> + Send;
    /// Runs a statement that gives rows.
    fn rows(on: &mut Self::Connection, sql: &str, args: Vec<Arg>) -> impl Future<Output = Result<Vec<Self::Row>, Self::Error>> + Send;
    /// Runs several statements without arguments.
    fn script(on: &mut Self::Connection, sql: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Carries out the writes that wait, apart from whoever asked for them.
    fn apart(_writer: &Self::Pool, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(task);
    }
    /// Closes what is idle.
    fn close(pool: &Self::Pool) -> impl Future<Output = ()> + Send;
    /// The number in a column, from 0.
    fn int(row: &Self::Row, column: usize) -> Result<i64, Self::Error>;
    /// The text in a column, from 0.
    fn text(row: &Self::Row, column: usize) -> Result<Option<String>, Self::Error>;
    /// What a failure means.
    fn fault(error: &Self::Error) -> Fault;
}

/// A failure of the database in the port's words.
pub fn failed<D: Dialect>(doing: &'static str) -> impl FnOnce(D::Error) -> StateError {
    move |source| match D::fault(&source) {
        Fault::Again => StateError::Conflict { what: format!("something needed for {doing}") },
        Fault::Taken | Fault::Other => StateError::Backend { doing, source: Box::new(source) },
    }
}

/// Whether another row holds what must be unique.
pub fn is_taken<D: Dialect>(error: &D::Error) -> bool {
    D::fault(error) == Fault::Taken
}
