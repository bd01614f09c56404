//! `dstack-server`: one replica of the control plane.

use std::process::ExitCode;

fn main() -> ExitCode {
    dstack_node::serve::main()
}
