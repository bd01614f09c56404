//! Real replicas on loopback, openraft's own storage suite, and the simulator.

mod formation;
mod lab;
mod links;
mod replicas;
mod sim;
mod store_suite;
