//! The short form of chaos: every nemesis once against a few live runs.

use dstack_chaos::campaign::{Lab, trouble};
use dstack_chaos::nemesis::Nemesis;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// One lab for all nemeses: the system must also survive them one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn every_nemesis_strikes_and_nothing_is_lost() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut lab = Lab::start(folder.path(), 2).await?;
    let mut rng = StdRng::seed_from_u64(7);
    for nemesis in Nemesis::ALL {
        trouble(&mut lab, folder.path(), nemesis, 1, 3, &mut rng).await?;
    }
    Ok(())
}
