//! The fronts against a scripted gateway: real sockets, real pipes, real MCP clients.

// `cfg(test)` tells the lints that helpers here are tests too.
#[cfg(test)]
mod allow_list;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod h2raw;
#[cfg(test)]
mod legacy;
#[cfg(test)]
mod modern;
#[cfg(test)]
mod pressure;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod script;
#[cfg(test)]
mod sdk;
#[cfg(test)]
mod stdio;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod wire;
