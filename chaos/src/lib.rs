//! Drives the real binaries from outside and judges what they leave behind.
//!
//! `lab` starts replicas, hosts and CLIs; `nemesis` breaks them and proves that it did; `workload`
//! keeps runs in flight; `verdict` says whether anything acknowledged was lost or done twice.

pub mod bench;
pub mod campaign;
pub mod clouds;
pub mod compare;
pub mod demo;
pub mod demo_crusoe;
pub mod lab;
pub mod logs_check;
pub mod nemesis;
pub mod prober;
pub mod table;
pub mod verdict;
pub mod workload;
