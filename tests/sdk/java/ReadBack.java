import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;

/**
 * Reads the tables of a lake with Apache Spark and Delta's own library, and prints what it found as one JSON line a table.
 *
 * <pre>java -cp 'JARS/*' ReadBack.java LAKE_DIRECTORY</pre>
 *
 * The names are those of read_back.py. Text columns of the first rows come as they are, nulls too.
 */
public class ReadBack {
    record Table(String name, String aggregates, String order) {}

    static final Table[] TABLES = {
        new Table(
            "events",
            "count(DISTINCT source, event_id) AS ids, count(DISTINCT log_partition, log_offset) AS positions, "
                + "CAST(sum(value) AS STRING) AS value, min(event_time_us) AS first_us, max(event_time_us) AS last_us, "
                + "sum(length(properties)) AS properties_length, sum(size(exposures)) AS exposures",
            "log_partition, log_offset"),
        new Table(
            "sessions",
            "count(DISTINCT session_id) AS ids, sum(event_count) AS events, min(start_time_us) AS first_us, "
                + "max(end_time_us) AS last_us",
            "session_id, version"),
        new Table("identities", "count(DISTINCT source, anonymous_id, user_id) AS links", "log_partition, log_offset"),
        new Table(
            "dead_letters",
            "count(DISTINCT log_topic, log_partition, log_offset) AS positions, sum(payload_bytes) AS bytes",
            "log_topic, log_partition, log_offset"),
    };

    public static void main(String[] arguments) {
        SparkSession spark =
            SparkSession.builder()
                .master("local[2]")
                .appName("read_back")
                .config("spark.driver.host", "127.0.0.1")
                .config("spark.driver.bindAddress", "127.0.0.1")
                .config("spark.ui.enabled", "false")
                .config("spark.sql.shuffle.partitions", "2")
                .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
                .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
                .getOrCreate();
        for (Table table : TABLES) {
            Dataset<Row> rows = spark.read().format("delta").load(arguments[0] + "/" + table.name());
            rows.createOrReplaceTempView(table.name());
            Row sums = spark.sql("SELECT count(*) AS rows, " + table.aggregates() + " FROM " + table.name()).first();
            Map<String, Object> found = new TreeMap<>();
            for (String name : sums.schema().fieldNames()) {
                found.put(name, sums.getAs(name));
            }
            String[] texts =
                java.util.Arrays.stream(rows.schema().fields())
                    .filter(field -> field.dataType().typeName().equals("string"))
                    .map(field -> field.name())
                    .toArray(String[]::new);
            String first =
                spark
                    .sql("SELECT " + String.join(", ", texts) + " FROM " + table.name() + " ORDER BY " + table.order()
                        + " LIMIT 200")
                    .collectAsList()
                    .stream()
                    .map(row -> list(row, texts.length))
                    .collect(Collectors.joining(", ", "[", "]"));
            String told =
                found.entrySet().stream()
                    .map(entry -> quoted(entry.getKey()) + ": " + json(entry.getValue()))
                    .collect(Collectors.joining(", "));
            String names =
                java.util.Arrays.stream(texts).map(ReadBack::quoted).collect(Collectors.joining(", ", "[", "]"));
            String columns =
                java.util.Arrays.stream(rows.columns()).map(ReadBack::quoted).collect(Collectors.joining(", ", "[", "]"));
            System.out.println(
                "{\"table\": " + quoted(table.name()) + ", " + told + ", \"columns\": " + columns + ", \"text_columns\": "
                    + names + ", \"texts\": " + first + "}");
        }
        spark.stop();
    }

    static String list(Row row, int length) {
        return java.util.stream.IntStream.range(0, length)
            .mapToObj(index -> json(row.get(index)))
            .collect(Collectors.joining(", ", "[", "]"));
    }

    static String json(Object value) {
        if (value == null) {
            return "null";
        }
        return value instanceof Number ? value.toString() : quoted(value.toString());
    }

    static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            if (letter == '"' || letter == '\\') {
                quoted.append('\\').append(letter);
            } else if (letter < ' ') {
                quoted.append(String.format("\\u%04x", (int) letter));
            } else {
                quoted.append(letter);
            }
        }
        return quoted.append('"').toString();
    }
}
