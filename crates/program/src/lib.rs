//! What every program of Tandem does, servers or not: [`environment`] sets what libraries read before `main`,
//! and [`progress`] shows how far a long step is.

pub mod environment;
pub mod progress;
