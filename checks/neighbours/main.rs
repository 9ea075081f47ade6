//! Opens one SQLite file through each library that is linked into this program.
//!
//! Two crates that bind SQLite cannot be linked together unless they agree on one `libsqlite3-sys`. That this program
//! builds shows that audithog's range of `rusqlite` versions leaves the choice to its neighbours; that it runs shows
//! that the one SQLite serves them all.

use std::error::Error;
use std::path::Path;

// Linked like in a service that has audithog beside its own database access.
use audithog as _;
use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use sea_orm::ConnectionTrait as _;
use sqlx::Connection as _;

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let file = std::env::temp_dir().join(format!("audithog-neighbours-{}.db", std::process::id()));
    std::fs::File::create_new(&file)?;
    let outcome = visit(&file).await;
    std::fs::remove_file(&file)?;
    outcome
}

/// Each neighbour adds its row to the same table; the last one counts them.
async fn visit(file: &Path) -> Outcome {
    let path = file.to_str().ok_or("the temporary directory's name is not UTF-8")?;
    with_sqlx(path).await?;
    with_sea_orm(path).await?;
    with_diesel(path)?;
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{path}")).await?;
    let visitors: i64 = sqlx::query_scalar("SELECT count(*) FROM visitors").fetch_one(&mut connection).await?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await?;
    connection.close().await?;
    if visitors != 3 {
        return Err(format!("3 libraries wrote a row each, {visitors} rows were found").into());
    }
    println!("SQLite {version}: sqlx, SeaORM and Diesel share one file; audithog is linked");
    Ok(())
}

async fn with_sqlx(path: &str) -> Outcome {
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{path}")).await?;
    sqlx::query("CREATE TABLE visitors (name TEXT)").execute(&mut connection).await?;
    sqlx::query("INSERT INTO visitors VALUES ('sqlx')").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

async fn with_sea_orm(path: &str) -> Outcome {
    let connection = sea_orm::Database::connect(format!("sqlite://{path}")).await?;
    connection.execute_unprepared("INSERT INTO visitors VALUES ('sea-orm')").await?;
    connection.close().await?;
    Ok(())
}

fn with_diesel(path: &str) -> Outcome {
    let mut connection = diesel::SqliteConnection::establish(path)?;
    connection.batch_execute("INSERT INTO visitors VALUES ('diesel')")?;
    Ok(())
}
