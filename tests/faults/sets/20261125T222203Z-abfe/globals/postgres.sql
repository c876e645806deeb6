--
-- PostgreSQL database cluster dump
--

\restrict nv7vBOH8Hbrvf9EpUkM8uVubFY3LdU8eQMzfE8YhISflkRJwWMOYAs6ZlcrzYra

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

--
-- Roles
--

CREATE ROLE keeper;
ALTER ROLE keeper WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS;

--
-- User Configurations
--








\unrestrict nv7vBOH8Hbrvf9EpUkM8uVubFY3LdU8eQMzfE8YhISflkRJwWMOYAs6ZlcrzYra

--
-- PostgreSQL database cluster dump complete
--

