//! Real replicas as child processes, judged from outside by what their clients were promised.

mod clustered;
mod growing;
mod hosts;
mod http;
mod lab;
mod single;
mod sshd;
mod writers;
