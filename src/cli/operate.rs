//! `check`, `pause` and `resume`: operator actions from a terminal. The HTTP API offers the same
//! actions and records the same evidence.

use crate::cli::context::{CommandContext, ShopArg, current_user};
use crate::cli::output;
use crate::config::SubmitsMode;
use crate::ledger::request_check;
use crate::store::shop_controls;
use leaves::clock;
use std::path::Path;

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Tracking ID, or `~` followed by the transaction ID
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

/// Makes a check of the transaction due now.
pub(super) async fn check(path: Option<&Path>, args: CheckArgs) -> anyhow::Result<()> {
    let desk = CommandContext::open(path, &args.shop)?;
    let stored = desk.find(&args.tracking_id).await?;
    let asked = request_check(&current_user(), clock::now_utc().into());
    let stored = desk.ledger().record_about(stored, asked).await?;
    let due = stored.record.next_check_at.is_some();
    output::print(if due {
        "check is due now; a running service executes it, and `show` prints the result"
    } else {
        "request recorded; the transaction has nothing to check at the gateway"
    })
}

/// Pauses or resumes new submits of a shop.
pub(super) async fn set_paused(
    path: Option<&Path>,
    args: PauseArgs,
    paused: bool,
) -> anyhow::Result<()> {
    let desk = CommandContext::open(path, &args.shop)?;
    shop_controls::set_paused(&desk.store, &desk.id, paused, &current_user()).await?;
    let shop = &desk.id;
    output::print(&match (paused, desk.shop.submits) {
        (true, _) => format!(
            "submits of shop {shop} paused, effective within 1 s; open transactions are still followed"
        ),
        (false, SubmitsMode::On) => format!("submits of shop {shop} resumed"),
        (false, mode @ (SubmitsMode::Paused | SubmitsMode::Off)) => {
            let mode = mode.as_str();
            format!("shop {shop} resumed, but its configuration still sets submits = {mode}")
        }
    })
}
