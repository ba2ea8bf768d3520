//! The fronts against a scripted gateway: real sockets, real pipes, real MCP clients.

mod doors;
mod flood;
mod legacy;
mod modern;
mod script;
mod sdk;
mod stdio;
mod wire;
