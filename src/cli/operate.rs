//! `check`, `pause` and `resume`: what a person may do from a terminal. The same is done over HTTP,
//! through the same door.

use crate::cli::desk::{Desk, ShopArg, person};
use crate::cli::sheet;
use crate::config::Submits;
use crate::ledger::look;
use crate::store::controls;
use leaves::clock;
use std::path::Path;

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The tracking id, or `~` and the id of the transaction.
    tracking_id: String,
    #[command(flatten)]
    shop: ShopArg,
}

/// Options of `pause` and `resume`.
#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    shop: ShopArg,
}

/// Makes a look at the gateway due now.
pub(super) async fn check(path: Option<&Path>, args: CheckArgs) -> anyhow::Result<()> {
    let desk = Desk::open(path, &args.shop)?;
    let stored = desk.find(&args.tracking_id).await?;
    let asked = look(&person(), clock::now_utc().into());
    let stored = desk.ledger().record_about(stored, asked).await?;
    let due = stored.record.next_check_at.is_some();
    sheet::print(if due {
        "a look at the gateway is due now; a running service takes it, and `show` tells what came"
    } else {
        "that is noted; there is nothing at the gateway to look at"
    })
}

/// Stops or allows new submits of a shop.
pub(super) async fn set_paused(
    path: Option<&Path>,
    args: PauseArgs,
    paused: bool,
) -> anyhow::Result<()> {
    let desk = Desk::open(path, &args.shop)?;
    controls::set_paused(&desk.store, &desk.id, paused, &person()).await?;
    let shop = &desk.id;
    sheet::print(&match (paused, desk.shop.submits) {
        (true, _) => format!(
            "new submits of shop {shop} are refused within a second; what was sent is followed on"
        ),
        (false, Submits::On) => format!("new submits of shop {shop} are taken again"),
        (false, Submits::Paused) => {
            format!("the switch of shop {shop} is off, but its configuration says submits = paused")
        }
    })
}
