//! What every program of Tandem does, servers or not: [`environment`] sets what libraries read before `main`,
//! [`machine`] names what figures were measured on, and [`progress`] shows how far a long step is.

pub mod environment;
pub mod machine;
pub mod progress;
