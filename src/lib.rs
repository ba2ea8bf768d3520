//! Tollgate: an MCP governance gateway. The modules stand in the order of their floors;
//! ARCHITECTURE.md gives the table and `tests/architecture.rs` enforces it.

pub mod model;

pub mod cost;
pub mod labels;
pub mod proof;
pub mod redaction;
pub mod series;

pub mod pinning;
pub mod policy;

pub mod decision;

pub mod admission;
pub mod evidence;

pub mod alerts;
pub mod chat;
pub mod replay;

pub mod clock;
pub mod config;
pub mod journal;
pub mod offload;
pub mod outbound;
pub mod store;
pub mod telemetry;
pub mod upstream;

pub mod activation;
pub mod approval;
pub mod audit;
pub mod catalog;
pub mod connections;
pub mod identity;
pub mod oversight;

pub mod gateway;

pub mod front;

pub mod cli;
