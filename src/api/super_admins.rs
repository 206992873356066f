//! Super admins of an app: `/chatrooms/super_admin`.

use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use schemars::JsonSchema;
use serde::Serialize;

use super::call::Call;
use super::idempotent_resource;
use super::openapi::operation::{self, Operation};
use super::openapi::{failures as fails, form};
use super::paging::Page;
use super::reply::Reply;
use crate::accounts::super_admins;
use crate::error::Error;

/// Entries on a page where its size is not named.
const DEFAULT_PAGE_SIZE: u64 = 10;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(idempotent_resource("/chatrooms/super_admin").route(web::get().to(list)).route(web::post().to(promote)))
        .service(idempotent_resource("/chatrooms/super_admin/{usernames}").route(web::delete().to(demote)));
}

pub fn operations() -> Vec<Operation> {
    vec![
        operation::get("/chatrooms/super_admin", "listSuperAdmins", "List the super admins, the longest standing first")
            .by_number()
            .answers::<Vec<String>>()
            .counted(),
        operation::post("/chatrooms/super_admin", "addSuperAdmin", "Make a user a super admin")
            .takes("superadmin", form::text("A registered user."))
            .answers::<Promoted>()
            .fails(&[fails::USER_NOT_FOUND]),
        operation::delete("/chatrooms/super_admin/{usernames}", "removeSuperAdmin", "Make a super admin a plain user again")
            .answers::<Demoted>()
            .fails(&[fails::USER_NOT_FOUND]),
    ]
}

/// The super admins, page by page, the longest standing first.
async fn list(call: Call) -> Result<Reply<Vec<String>>, Error> {
    let page = Page::of_at_least_one(&call.params(), DEFAULT_PAGE_SIZE);
    let names = super_admins::list(&call.state.db.for_lists(), call.app.id, page.skip, page.size).await?;
    let count = names.len();
    Ok(call.reply(names).count(count))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SuperAdminPromoted")]
struct Promoted {
    result: &'static str,
    resource: &'static str,
}

async fn promote(call: Call) -> Result<HttpResponse, Error> {
    let name = call.user_in_body("superadmin")?;
    let promoted = super_admins::promote(&call.state.db, call.app.id, &call.actor()?, &name).await?;
    call.commit(promoted, |call, ()| Ok(call.reply(Promoted { result: "success", resource: "" }))).await
}

/// Named so by the hosted service, though it is the former one.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SuperAdminDemoted")]
struct Demoted {
    new_super_admin: String,
    resource: &'static str,
}

/// A success also for a user who never was one.
async fn demote(call: Call) -> Result<HttpResponse, Error> {
    let name = call.user();
    let demoted = super_admins::demote(&call.state.db, call.app.id, &call.actor()?, &name).await?;
    let new_super_admin = name.given()[0].clone();
    call.commit(demoted, |call, ()| Ok(call.reply(Demoted { new_super_admin, resource: "" }))).await
}
