//! Real replicas as child processes, judged from outside by what their clients were promised.

mod clustered;
mod lab;
mod single;
mod writers;
