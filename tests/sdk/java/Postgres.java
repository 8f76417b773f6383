import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;

/** Asks a server by PostgreSQL's protocol with its JDBC driver: HOST PORT TOKEN. A line of JSON for each part that held. */
public class Postgres {
    static final String LONG = "SELECT count(*) FROM generate_series(1, 10000000) AS a, generate_series(1, 10000000) AS b "
            + "WHERE a.value * b.value = 17";

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", "anyone");
        properties.setProperty("password", arguments[2]);
        // From the first execution on: prepared on the server, in the binary format.
        properties.setProperty("prepareThreshold", "-1");
        String url = "jdbc:postgresql://" + arguments[0] + ":" + arguments[1] + "/tributary";
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            metadata(connection);
            types(connection);
            prepared(connection);
            cursor(connection);
            cancel(connection);
            readOnly(connection);
        }
    }

    static void holds(String name) {
        System.out.println("{\"holds\": \"" + name + "\"}");
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData metadata = connection.getMetaData();
        check(metadata.getDatabaseProductName().equals("PostgreSQL"), metadata.getDatabaseProductName());
        Map<String, String> tables = new HashMap<>();
        try (ResultSet rows = metadata.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"})) {
            while (rows.next()) {
                tables.put(rows.getString("TABLE_NAME"), rows.getString("TABLE_TYPE"));
            }
        }
        check("TABLE".equals(tables.get("events")) && "VIEW".equals(tables.get("sessions")), tables.toString());
        Map<String, Integer> columns = new HashMap<>();
        try (ResultSet rows = metadata.getColumns(null, "public", "events", "%")) {
            while (rows.next()) {
                columns.put(rows.getString("COLUMN_NAME"), rows.getInt("DATA_TYPE"));
                check(rows.getString("TYPE_NAME") != null, rows.getString("COLUMN_NAME"));
                if (rows.getString("COLUMN_NAME").equals("value")) {
                    check(rows.getInt("COLUMN_SIZE") == 18 && rows.getInt("DECIMAL_DIGITS") == 6, "the digits of value");
                }
            }
        }
        check(columns.get("event_id") == Types.VARCHAR && columns.get("event_time_us") == Types.BIGINT
                && columns.get("value") == Types.NUMERIC && columns.get("event_date") == Types.DATE, columns.toString());
        try (ResultSet rows = metadata.getSchemas()) {
            boolean found = false;
            while (rows.next()) {
                found |= rows.getString("TABLE_SCHEM").equals("public");
            }
            check(found, "the schema public");
        }
        for (ResultSet rows : new ResultSet[] {
            metadata.getPrimaryKeys(null, "public", "events"), metadata.getIndexInfo(null, "public", "events", false, true),
            metadata.getImportedKeys(null, "public", "events"), metadata.getExportedKeys(null, "public", "events")}) {
            check(!rows.next(), "there are no keys and no indexes");
            rows.close();
        }
        metadata.getCatalogs().close();
        metadata.getTableTypes().close();
        metadata.getTypeInfo().close();
        holds("metadata");
    }

    static void types(Connection connection) throws SQLException {
        String sql = "SELECT true AS a, CAST(7 AS INT) AS b, CAST(9007199254740993 AS BIGINT) AS c, "
                + "CAST('0.1' AS DOUBLE PRECISION) AS d, CAST('123456789012.000001' AS DECIMAL(18, 6)) AS e, 'it''s' AS f, "
                + "DATE '2026-01-05' AS g, CAST('2026-01-05T01:02:03.000004' AS TIMESTAMP) AS h, X'00ff' AS i, "
                + "make_array('a', NULL) AS j, CAST(NULL AS BIGINT) AS k";
        try (PreparedStatement statement = connection.prepareStatement(sql); ResultSet rows = statement.executeQuery()) {
            check(rows.next(), "a row");
            check(rows.getBoolean(1) && rows.getInt(2) == 7 && rows.getLong(3) == 9007199254740993L, "numbers");
            check(rows.getDouble(4) == 0.1 && rows.getBigDecimal(5).equals(new BigDecimal("123456789012.000001")), "fractions");
            check(rows.getString(6).equals("it's") && rows.getDate(7).toString().equals("2026-01-05"), "text and date");
            check(rows.getTimestamp(8).toString().equals("2026-01-05 01:02:03.000004"), rows.getTimestamp(8).toString());
            check(rows.getBytes(9).length == 2 && rows.getBytes(9)[1] == -1, "bytes");
            Object[] list = (Object[]) rows.getArray(10).getArray();
            check(list.length == 2 && list[0].equals("a") && list[1] == null, "a list");
            rows.getLong(11);
            check(rows.wasNull(), "NULL");
        }
        holds("types");
    }

    static void prepared(Connection connection) throws SQLException {
        String sql = "SELECT event_id FROM events WHERE event_id = ? AND event_time_us > ? AND event_date >= ?";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            check(statement.getParameterMetaData().getParameterCount() == 3, "three parameters");
            check(statement.getMetaData().getColumnCount() == 1, "one column");
            for (String id : new String[] {"e0", "e1", "nobody", "e2"}) {
                statement.setString(1, id);
                statement.setLong(2, 0);
                statement.setDate(3, java.sql.Date.valueOf("2026-01-01"));
                try (ResultSet rows = statement.executeQuery()) {
                    check(rows.next() == !id.equals("nobody"), id);
                }
            }
        }
        holds("prepared");
    }

    static void cursor(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(1000);
            try (ResultSet rows = statement.executeQuery("SELECT value FROM generate_series(1, 10500)")) {
                long count = 0;
                while (rows.next()) {
                    count++;
                    check(rows.getLong(1) == count, "rows in their order");
                }
                check(count == 10500, "rows: " + count);
            }
        }
        connection.commit();
        connection.setAutoCommit(true);
        holds("cursor");
    }

    static void cancel(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            statement.executeQuery(LONG);
            throw new AssertionError("it was not canceled");
        } catch (SQLException error) {
            check("57014".equals(error.getSQLState()), error.toString());
        }
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("SELECT 1")) {
            check(rows.next(), "it goes on");
        }
        holds("cancel");
    }

    static void readOnly(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("DELETE FROM events");
            throw new AssertionError("it was not refused");
        } catch (SQLException error) {
            check("25006".equals(error.getSQLState()), error.toString());
        }
        holds("read only");
    }
}
