//! Where is this user? `/users/{username}/standing`: every room that knows the user.

use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::Call;
use super::idempotent_resource;
use super::openapi::failures as fails;
use super::openapi::operation::{self, Operation};
use super::paging;
use super::reply::Reply;
use crate::error::Error;
use crate::names::unix_ms;
use crate::rooms::read::standing::{self, Standing};

pub fn routes(config: &mut ServiceConfig) {
    config.service(idempotent_resource("/users/{usernames}/standing").route(web::get().to(list)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/users/{usernames}/standing", "listStandings", "List every room that knows a user")
            .says("By id. A room knows its members, and those whom it has muted or blocked.")
            .by_cursor()
            .answers::<Vec<RoomStanding>>()
            .counted()
            .fails(&[fails::USER_NOT_FOUND]),
    ]
}

/// Moments are Unix milliseconds.
#[derive(Serialize, JsonSchema)]
struct RoomStanding {
    id: String,
    #[schemars(extend("enum" = ["owner", "admin", "member", "none"]))]
    role: &'static str,
    whitelisted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    muted_until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_until: Option<i64>,
}

impl From<Standing> for RoomStanding {
    fn from(standing: Standing) -> Self {
        let role = match standing {
            Standing { owner: true, .. } => "owner",
            Standing { admin: true, .. } => "admin",
            Standing { member: true, .. } => "member",
            _ => "none",
        };
        Self {
            id: standing.room,
            role,
            whitelisted: standing.whitelisted,
            muted_until: standing.muted_until.map(unix_ms),
            blocked_until: standing.blocked_until.map(unix_ms),
        }
    }
}

/// By room id, page by page.
async fn list(call: Call) -> Result<Reply<Vec<RoomStanding>>, Error> {
    let (params, user) = (call.params().only(&["limit", "cursor"])?, call.user());
    let limit = paging::limit(&params, paging::MAX_LIMIT, paging::MAX_LIMIT);
    let scope = format!("standing/{}/{}", call.app.id, user.given()[0]);
    let after = call.state.cursors.read::<String>(&scope, &params)?.unwrap_or_default();
    let mut rooms = standing::list(&call.state.db, call.app.id, &user, &after, limit + 1).await?;
    let cursor = paging::cut(&mut rooms, limit).map(|last| call.state.cursors.write(&scope, &last.room));
    let count = rooms.len();
    Ok(call.reply(rooms.into_iter().map(RoomStanding::from).collect()).count(count).cursor(cursor))
}
